"""95% intervals that hold on few cases too: of shares, and of differences between two things on the same prompts.

Cases of one cluster (the judgements of one prompt, say) resemble one another, so it is clusters that are counted. No
bootstrap and no normal law: both give no width where all cases are alike, and cover less than they promise on few.
How often each interval covers the truth is measured by `benchmarks/coverage.py`.
"""

from bisect import bisect_left
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import betaincinv, stdtrit

Interval = tuple[float, float]
_UPPER = 0.975
_FEWEST, _HALVINGS = 1e-3, 50


def share_interval(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Of a share, `successes` of `n` independent cases: exact (Clopper and Pearson 1934). Parts of a case count."""
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high


def clustered_share_interval(values: np.ndarray, clusters: Sequence[Hashable]) -> Interval:
    """Of the mean of `values` (cases,), each from 0 to 1: the exact one, on as many cases as they are worth."""
    effective = effective_cases(float(values.mean()), values - values.mean(), clusters)
    return share_interval(float(values.mean()) * effective, effective)


def effective_cases(share: float, residuals: np.ndarray, clusters: Sequence[Hashable]) -> float:
    """How many independent cases say as much about `share` as these (cases,), given their `residuals`.

    n over the design effect, with Student's quantiles for the number of clusters (Korn and Graubard 1998). Where the
    variance between clusters is zero or unknown, the number of clusters.
    """
    n, variance = len(residuals), mean_variance(residuals, clusters)
    number = len(set(clusters))
    if variance <= 0 or number < 2:
        return float(number)
    design = variance * (n - 1) / (share * (1 - share)) if 0 < share < 1 else 1.0
    few = stdtrit(number - 1, _UPPER) / stdtrit(n - 1, _UPPER)
    return float(n / max(1.0, design * few**2))


def cases_worth(share: float, interval: Interval, cases: float) -> float:
    """How many independent cases, at most `cases`, say as much about a share as this 95% interval of it."""
    fewer, more = _FEWEST, float(cases)
    for _ in range(_HALVINGS):
        n = float(np.sqrt(fewer * more))
        low, high = share_interval(share * n, n)
        fewer, more = (n, more) if high - low > interval[1] - interval[0] else (fewer, n)
    return more


def mean_variance(values: np.ndarray, clusters: Sequence[Hashable]) -> float:
    """The sampling variance of the mean of `values` (cases,) over clusters; 0 if there is only one."""
    _, of_case = np.unique(np.array(clusters), return_inverse=True)
    k = int(of_case.max()) + 1
    sums = np.bincount(of_case, weights=values - values.mean())
    return k / (k - 1) * float((sums**2).sum()) / len(values) ** 2 if k > 1 else 0.0


def paired_interval(differences: np.ndarray, clusters: Sequence[Hashable]) -> Interval:
    """Of the mean of `differences` (cases,), each from -1 to 1, between two things measured on the same cases.

    Two clusters are added, one for either side (Agresti and Min 2005), so that the interval has a width where the two
    never differ. Student's law over the clusters.
    """
    _, of_case = np.unique(np.array(clusters), return_inverse=True)
    size = len(differences) / (int(of_case.max()) + 1)
    sums = np.append(np.bincount(of_case, weights=differences), (size, -size))
    sizes = np.append(np.bincount(of_case), (size, size))
    mean, k = float(sums.sum() / sizes.sum()), len(sums)
    variance = k / (k - 1) * ((sums - mean * sizes) ** 2).sum() / sizes.sum() ** 2
    half = float(stdtrit(k - 1, _UPPER) * np.sqrt(variance))
    return max(-1.0, mean - half), min(1.0, mean + half)


def cases_needed(limit: float) -> int:
    """The fewest cases without any difference whose `paired_interval` ends within `limit` (above 0) of zero."""

    def half(cases: int) -> float:
        return float(stdtrit(cases + 1, _UPPER) * np.sqrt(2 / ((cases + 1) * (cases + 2))))

    return 1 + bisect_left(range(1, 10**12), True, key=lambda cases: half(cases) <= limit)
