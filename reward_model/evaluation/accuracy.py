"""Shares of pairs that a reward model gets right, each with an interval that knows of conversations.

Pairs of one conversation resemble one another, so that their number overstates what is known.
"""

from collections.abc import Sequence

import numpy as np

from foundation.intervals import clustered_share_interval


def credit(differences: np.ndarray) -> np.ndarray:
    """1 where the chosen response scores higher, one half for a tie, else 0: (pairs,)."""
    return np.asarray((np.sign(differences) + 1) / 2)


def share(right: np.ndarray, conversations: Sequence[str], name: str = "accuracy") -> dict[str, float]:
    """The mean of `right` (pairs,) as `name`, with `name_low`, `name_high` (95%) and `n`; at least one pair."""
    low, high = clustered_share_interval(right, conversations)
    return {name: float(right.mean()), f"{name}_low": low, f"{name}_high": high, "n": len(right)}
