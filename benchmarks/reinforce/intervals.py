"""Bootstrap intervals of a mean, and of the ratio of two means over the same seeds."""

import numpy as np


def resampled(count: int) -> np.ndarray:
    """Bootstrap samples, the same at every call: (draws, count) indices."""
    return np.random.default_rng(0).integers(count, size=(10_000, count))


def interval(estimate: float, draws: np.ndarray) -> dict[str, float]:
    """The estimate with a 95% interval, from what the draws give."""
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return {"estimate": float(estimate), "low": float(low), "high": float(high)}


def mean_interval(values: np.ndarray) -> dict[str, float]:
    """Of a mean over seeds or prompts."""
    return interval(values.mean(), values[resampled(len(values))].mean(1))


def ratio_interval(above: np.ndarray, below: np.ndarray) -> dict[str, float]:
    """Of two means over the same seeds."""
    rows = resampled(len(above))
    with np.errstate(invalid="ignore"):
        draws = above[rows].mean(1) / below[rows].mean(1)
    return interval(above.mean() / below.mean(), draws)
