"""A curve in one line of text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BARS = "▁▂▃▄▅▆▇█"


def binned(values: Sequence[float], most: int) -> NDArray[np.float64]:
    """Means of a curve in up to `most` bins of equal length; values that are not finite are left out."""
    parts = np.array_split(np.asarray(values, dtype=np.float64), min(most, len(values)) or 1)
    finite = (part[np.isfinite(part)] for part in parts)
    return np.array([part.mean() if len(part) else np.nan for part in finite])


def sparkline(values: NDArray[np.float64]) -> str:
    """One bar per value, scaled between minimum and maximum; a blank for NaN."""
    known = values[np.isfinite(values)]
    if not len(known):
        return " " * len(values)
    low, high = known.min(), known.max()
    heights = (values - low) / (high - low) if high > low else np.zeros_like(values)
    steps = len(_BARS) - 1
    return "".join(
        _BARS[round(height * steps)] if np.isfinite(value) else " "
        for height, value in zip(heights, values, strict=True)
    )
