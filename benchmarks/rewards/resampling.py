"""Intervals for shares of pairs, when pairs of one prompt resemble one another."""

from collections.abc import Sequence

import numpy as np


def resampled(prompts: Sequence[str], draws: int = 2000) -> np.ndarray:
    """How often each pair is in each bootstrap sample of the prompts with all their pairs: (draws, pairs)."""
    _, prompt = np.unique(np.array(prompts), return_inverse=True)
    count = int(prompt.max()) + 1
    drawn = np.random.default_rng(0).integers(count, size=(draws, count))
    times = np.stack([np.bincount(each, minlength=count) for each in drawn])
    return times[:, prompt]


def interval(values: np.ndarray, prompts: Sequence[str]) -> tuple[float, float]:
    """A 95% interval of the mean of `values` (pairs,)."""
    times = resampled(prompts)
    low, high = np.quantile(times @ values / times.sum(1), (0.025, 0.975))
    return float(low), float(high)
