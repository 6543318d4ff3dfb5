"""Gold against KL: the fits of Gao et al. 2022, where gold turns down, and two curves at the same KL."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WINDOW = 5  # steps over which gold and KL of a training are averaged
_LEAST = 0.1  # nats: below, the KL of a few responses is mostly noise

Points = Sequence[tuple[Sequence[float], Sequence[float], float]]


def smoothed(values: Sequence[float], window: int = WINDOW) -> np.ndarray:
    """The mean of each value and those before it, `window` in all, as far as there are so many."""
    return np.array([np.mean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)])


def shape(kind: str, distance: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """Gold's gain at a root of the KL d: d(alpha - beta d) for "best of n", d(alpha - beta log d) for "rl"."""
    return distance * (alpha - beta * (distance if kind == "best of n" else np.log(distance)))


def fit(kind: str, runs: Points) -> dict[str, Any]:
    """Least squares of alpha and beta over the points (KL, gold, gold at no KL) of all runs. Gao et al. 2022, eq. 1.

    `turns_at_kl` is where the fitted curve is highest; null where it does not turn down, or far beyond what was seen.
    With fewer than three points there is no fit, and all is null.
    """
    kl = np.concatenate([np.asarray(each) for each, _, _ in runs])
    gain = np.concatenate([np.asarray(gold) - start for _, gold, start in runs])
    far = kl > _LEAST
    d, gain = np.sqrt(kl[far]), gain[far]
    if len(d) < 3:
        return dict.fromkeys(("alpha", "beta", "r2", "turns_at_kl")) | {"points": len(d)}
    columns = np.stack([shape(kind, d, 1.0, 0.0), shape(kind, d, 0.0, 1.0)], axis=1)
    (alpha, beta), *_ = np.linalg.lstsq(columns, gain, rcond=None)
    left = float(((gain - columns @ (alpha, beta)) ** 2).sum())
    top = None
    if beta > 0:
        best = alpha / (2 * beta) if kind == "best of n" else math.exp(min(alpha / beta - 1, 50))
        top = float(best**2) if 0 < best**2 <= 4 * float(kl.max()) else None
    spread = float(((gain - gain.mean()) ** 2).sum())
    r2 = 1 - left / spread if spread else None
    return {"alpha": float(alpha), "beta": float(beta), "r2": r2, "turns_at_kl": top, "points": len(d)}


def turning(gold: Sequence[float]) -> dict[str, Any]:
    """The step after which gold, averaged over `WINDOW` steps, was highest, and whether it fell from there.

    It fell if what it lost by the end is more than two standard errors of such a difference; a step's own noise is
    taken from the differences between neighbouring steps.
    """
    mean = smoothed(gold)
    start = min(WINDOW, len(gold)) - 1
    best = start + int(mean[start:].argmax())
    noise = float(np.std(np.diff(gold))) / math.sqrt(2) if len(gold) > 2 else math.inf
    lost = float(mean[best] - mean[-1])
    return {
        "best_step": best + 1,
        "best_gold": float(mean[best]),
        "last_gold": float(mean[-1]),
        "turned": lost > 2 * noise * math.sqrt(2 / WINDOW),
    }


def at_same_kl(one: Mapping[str, Any], other: Mapping[str, Any], points: int = 20) -> dict[str, float]:
    """By how much the gold of `one` is above that of `other` where both are equally far from the base.

    Both are averaged over `WINDOW` steps, and read off between their points; `mean` is over evenly spaced roots of the
    KL up to the furthest that both reached, `at_most` there.
    """
    far = [np.sqrt(smoothed(run["kl"]).clip(0)) for run in (one, other)]
    grid = np.linspace(0, min(each.max() for each in far), points + 1)[1:]
    gold = []
    for distance, run in zip(far, (one, other), strict=True):
        order = np.argsort(distance, kind="stable")
        gold.append(np.interp(grid, distance[order], smoothed(run["gold"])[order]))
    gained = gold[0] - gold[1]
    return {"mean": float(gained.mean()), "at_most": float(gained[-1]), "up_to_kl": float(grid[-1] ** 2)}
