"""Figures with their uncertainty: a share with its interval, a trend with its p value.

Plain numbers in, plain numbers out; what is counted is decided in `assessment.py`.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from foundation.intervals import share_interval

_SHORTEST_SEQUENCE = 10
_EXACT = 200
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Share:
    """`value` is a share of `n` cases, with its exact 95% interval; all but `n` are None if there are no cases.

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
    low, high = share_interval(count, len(cases))
    return Share(len(cases), count / len(cases), low, high)


@dataclass(frozen=True, slots=True)
class Trend:
    """Whether a share falls along a sequence of `n` cases: `early` and `late` are the shares of its halves.

    `p_value`, one-sided, is of misses coming at least as late as they do if their order is chance: the rank-sum test of
    their places (Mann and Whitney 1947), exact up to 200 cases.
    """

    n: int
    early: float
    late: float
    p_value: float


def trend(cases: Sequence[bool]) -> Trend | None:
    """The trend of hits and misses in their order; None for fewer than ten, or if all are the same."""
    if len(cases) < _SHORTEST_SEQUENCE or len(set(cases)) < 2:
        return None
    from scipy.stats import mannwhitneyu  # here: it takes half a second to load

    places, hit = np.arange(len(cases)), np.array(cases, dtype=bool)
    method = "exact" if len(cases) <= _EXACT else "asymptotic"
    p_value = float(mannwhitneyu(places[~hit], places[hit], alternative="greater", method=method).pvalue)
    half = len(cases) // 2
    return Trend(len(cases), float(hit[:half].mean()), float(hit[half:].mean()), p_value)


def holm(p_values: Mapping[Name, float], weights: Mapping[Name, float]) -> dict[Name, float]:
    """Correct p values for how many there are (Holm 1979): the chance of even one false alarm stays what it says.

    A test with a larger weight gets more of that chance, in proportion.
    """
    left, most, corrected = sum(weights[name] for name in p_values), 0.0, {}
    for name in sorted(p_values, key=lambda name: p_values[name] / weights[name]):
        most = max(most, min(1.0, p_values[name] * left / weights[name]))
        corrected[name] = most
        left -= weights[name]
    return corrected
