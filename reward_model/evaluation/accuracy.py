"""Shares of pairs that a reward model gets right, each with an interval that knows of prompts.

Pairs of one prompt resemble one another, so that their number overstates what is known.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np

_Z = 1.959964  # the 97.5% point of a standard normal


def credit(differences: np.ndarray) -> np.ndarray:
    """1 where the chosen response scores higher, one half for a tie, else 0: (pairs,)."""
    return np.asarray((np.sign(differences) + 1) / 2)


def share(right: np.ndarray, prompts: Sequence[str], name: str = "accuracy") -> dict[str, float]:
    """The mean of `right` (pairs,) as `name`, with `name_low`, `name_high` (95%) and `n`; at least one pair."""
    low, high = clustered_interval(right, prompts)
    return {name: float(right.mean()), f"{name}_low": low, f"{name}_high": high, "n": len(right)}


def clustered_interval(right: np.ndarray, prompts: Sequence[str]) -> tuple[float, float]:
    """A 95% interval for the mean of `right` (pairs,) when pairs of one prompt resemble one another.

    Wilson's interval (Wilson 1927) on the effective number of pairs, n / design effect, with the variance
    between prompts by linearisation (Korn and Graubard 1998). Unlike a bootstrap over prompts it does not shrink to a
    point when every answer is right. Where the variance between prompts is zero or unknown, the number of prompts
    is the effective number.
    """
    _, prompt = np.unique(np.array(prompts), return_inverse=True)
    n, k, mean = len(right), int(prompt.max()) + 1, float(right.mean())
    variance = mean_variance(right, prompts)
    effective = min(n, mean * (1 - mean) / variance) if variance > 0 else k
    centre = (mean + _Z**2 / (2 * effective)) / (1 + _Z**2 / effective)
    half = _Z * sqrt(mean * (1 - mean) / effective + _Z**2 / (4 * effective**2)) / (1 + _Z**2 / effective)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_variance(values: np.ndarray, prompts: Sequence[str]) -> float:
    """The sampling variance of the mean of `values` (pairs,) over prompts; 0 if there is only one prompt."""
    _, prompt = np.unique(np.array(prompts), return_inverse=True)
    k = int(prompt.max()) + 1
    residuals = np.bincount(prompt, weights=values - values.mean())
    return k / (k - 1) * float((residuals**2).sum()) / len(values) ** 2 if k > 1 else 0.0


def mean_interval(values: np.ndarray, prompts: Sequence[str]) -> tuple[float, float]:
    """A 95% interval for the mean of any `values` (pairs,), by the normal law over prompts."""
    half = _Z * sqrt(mean_variance(values, prompts))
    return float(values.mean()) - half, float(values.mean()) + half
