"""Figures with their uncertainty: a share with its interval, a trend with its p value.

Plain numbers in, plain numbers out; what is counted is decided in `assessment.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

_SHORTEST_SEQUENCE = 10


@dataclass(frozen=True, slots=True)
class Share:
    """`value` is a share of `n` cases, with its 95% Wilson interval; all but `n` are None if there are no cases.

    A case may count in part (a ranking that agrees in two of its three pairs): n is still the number of cases.
    """

    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


def share(cases: Sequence[float]) -> Share:
    """The share of cases; each is between 0 and 1."""
    if not cases:
        return Share(0)
    count = float(sum(cases))
    low, high = proportion_confint(count, len(cases), method="wilson")
    return Share(len(cases), count / len(cases), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Trend:
    """Whether a quantity rises or falls along a sequence of `n` values: `early` and `late` are means of its halves.

    `p_value` is that of Kendall's rank correlation with the position in the sequence (Mann 1945): of a trend at least
    as strong if there is none. It assumes nothing of the quantity's distribution or of the trend's shape.
    """

    n: int
    early: float
    late: float
    p_value: float


def trend(values: Sequence[float]) -> Trend | None:
    """The trend of `values` in their order; None for fewer than ten, or if all are the same."""
    if len(values) < _SHORTEST_SEQUENCE or len(set(values)) < 2:
        return None
    half = len(values) // 2
    p_value = float(kendalltau(range(len(values)), values).pvalue)
    return Trend(len(values), float(np.mean(values[:half])), float(np.mean(values[half:])), p_value)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for how many there are (Holm 1979): the chance of even one false alarm stays what it says."""
    given = [p for p in p_values if p is not None]
    corrected = iter(multipletests(given, method="holm")[1] if given else ())
    return [None if p is None else float(next(corrected)) for p in p_values]
