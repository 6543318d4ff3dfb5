"""What more labels would buy: the accuracy of a linear head against the number of labels, and where that leads.

The head reads the frozen base's states and is fitted in closed form on subsets of the labels. How fast it improves
stands for how fast the trained reward model does; how good that one is, its own held-out pairs say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

from foundation.intervals import cases_worth
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.gate import linear_head

_DRAWS, _SHARES, _TESTED = 5, (0.125, 0.25, 0.5, 1.0), 0.25
_FEWEST = 48  # pairs
_HALVES = np.logspace(0.5, 5, 46)  # labels
_USUAL = (2.8, 0.7)  # prior of log10(half), its mean and deviation: few labels say little of it
_LEVELS = np.linspace(0.02, 2.5, 125)
_REPLICATES = 400


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy after n labels is Phi(level / sqrt(1 + half / n)): each an array (replicates,), the estimate first.

    A linear rule of which only the direction is estimated, from n examples, separates Gaussian classes like this: the
    squared distance grows as n / (n + half), and level is where it ends (Raudys and Jain 1991, "Small sample size
    effects in statistical pattern recognition", IEEE TPAMI 13, Table I). The replicates are of a bootstrap.
    """

    half: np.ndarray
    level: np.ndarray

    @classmethod
    def of_model(cls, half: Sequence[float], held_out: Mapping[str, float], labels: int) -> Self:
        """Of a model after so many labels; its level follows from its `accuracy`, the interval of that, and `n` pairs.

        Pairs that share prompts count as many as the interval says that they are worth. `half` (replicates,) is a
        head's on the same kind of labels, as `half_labels` gives it.
        """
        rng = np.random.default_rng(0)
        accuracy = held_out["accuracy"]
        pairs = cases_worth(accuracy, (held_out["accuracy_low"], held_out["accuracy_high"]), held_out["n"])
        right, halves = accuracy * pairs, np.array(half)
        drawn = betaincinv(right + 1, pairs - right + 1, (rng.permutation(len(half) - 1) + 0.5) / (len(half) - 1))
        known = ndtri(np.clip(np.concatenate([[accuracy], drawn]), 0.5, 1 - 1e-6))
        return cls(halves, known * np.sqrt(1 + halves / labels))

    def accuracy(self, labels: float) -> tuple[float, float, float]:
        """Estimate and 95% interval after so many labels in all."""
        return _interval(ndtr(self.level / np.sqrt(1 + self.half / labels)))

    def ceiling(self) -> tuple[float, float, float]:
        """The accuracy with labels without end, and its interval."""
        return _interval(ndtr(self.level))

    def labels(self, accuracy: float) -> tuple[float, float, float]:
        """Labels in all for this accuracy, above 0.5, and their interval; infinite where it is out of reach."""
        surplus = (self.level / ndtri(accuracy)) ** 2 - 1
        return _interval(np.where(surplus > 0, self.half / np.maximum(surplus, 1e-12), np.inf))


def half_labels(differences: np.ndarray, conversations: Sequence[str]) -> dict[str, Any]:
    """`half` (replicates,) for a `LearningCurve`, and the `points` it was fitted to: [labels, accuracy].

    `differences` (pairs, d) are states of chosen less rejected responses. Five times, the pairs of a quarter of the
    conversations are held out, and heads are fitted on an eighth of the others to all of them; the curve is the
    likeliest one. Replicates weigh the conversations anew. Nothing with fewer than 48 pairs or four conversations.
    """
    names, of_pair = np.unique(np.array(conversations), return_inverse=True)
    if len(of_pair) < _FEWEST or len(names) < 4:
        return {}
    rng = np.random.default_rng(0)
    sizes, rights, judged = [], [], []
    for _ in range(_DRAWS):
        place = rng.permutation(len(names))[of_pair]  # conversations in another order
        held_out = np.flatnonzero(place < max(1, round(_TESTED * len(names))))
        others = np.setdiff1d(np.arange(len(of_pair)), held_out)
        others = others[np.argsort(place[others], kind="stable")]
        for part in _SHARES:
            chosen = others[: max(8, round(part * len(others)))]
            rights.append(credit(differences[held_out] @ linear_head(differences[chosen])))
            sizes.append(len(chosen))
            judged.append(of_pair[held_out])
    weights = np.concatenate([np.ones((1, len(names))), rng.exponential(size=(_REPLICATES, len(names)))])
    points, right, total = np.array(sizes, dtype=float), [], []
    for each, prompt in zip(rights, judged, strict=True):
        right.append(weights[:, prompt] @ each)
        total.append(weights[:, prompt].sum(1))
    usual = np.concatenate([[_USUAL[0]], rng.normal(*_USUAL, _REPLICATES)])
    half = _likeliest_half(points, np.stack(right, 1), np.stack(total, 1), usual)
    groups = np.arange(len(points)) % len(_SHARES)
    shown = [
        [round(float(points[groups == g].mean())), round(float(np.concatenate([
            each for place, each in enumerate(rights) if place % len(_SHARES) == g
        ]).mean()), 4)]
        for g in range(len(_SHARES))
    ]  # fmt: skip
    return {"half": [float(f"{each:.4g}") for each in half], "points": shown}


def _likeliest_half(sizes: np.ndarray, right: np.ndarray, total: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """The likeliest `half` for each replicate of counts (replicates, sizes), over a grid of levels: (replicates,).

    `usual` (replicates,) is where the prior of each is centred, drawn from the prior itself (Bardsley et al. 2014,
    "Randomize-then-optimize").
    """
    best, found = np.full(len(right), -np.inf), np.zeros(len(right))
    for half in _HALVES:
        p = np.clip(ndtr(_LEVELS[:, None] / np.sqrt(1 + half / sizes)), 1e-9, 1 - 1e-9)  # (levels, sizes)
        likelihood = (right @ np.log(p).T + (total - right) @ np.log(1 - p).T).max(1) / _DRAWS
        likelihood -= ((np.log10(half) - usual) / _USUAL[1]) ** 2 / 2
        better = likelihood > best
        best[better], found[better] = likelihood[better], half
    return found


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    low, high = np.quantile(values[1:], [0.025, 0.975], method="nearest")
    return float(values[0]), float(low), float(high)
