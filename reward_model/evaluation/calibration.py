"""Whether a reward model's confidence can be taken at its word.

A score difference d, chosen less rejected, claims that chosen is preferred with probability sigmoid(d / T). The
temperature T is fitted on pairs held out of training; scores themselves, and so every ranking, stay as they are.
Everything here is arithmetic on differences; they are computed in `score_differences.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.model_selection import GroupKFold

from foundation.errors import UserError
from reward_model.evaluation.accuracy import credit

_FOLDS = 5
_RANGE = math.log(1e3)  # of the temperature, to both sides of the differences' own scale
_SAME = 1e-9
_GROUP = 20  # pairs of like confidence whose share right is forecast together


def probability(differences: np.ndarray) -> np.ndarray:
    """sigmoid(difference): (pairs,)."""
    return np.asarray(1 / (1 + np.exp(-np.clip(differences, -500, 500))))


def fit_temperature(differences: np.ndarray) -> float:
    """The T for which sigmoid(d / T) explains best that all these pairs were preferred as they were.

    Guo et al. 2017, section 4.2, by the likelihood. n pairs count as (n + 1) / (n + 2) of a preference each, as in
    Platt 1999, section 2.2: T stays finite if every pair is right. 1 if nothing can be learned.
    """
    n, scale = len(differences), float(np.abs(differences).mean()) if len(differences) else 0.0
    if scale == 0:
        return 1.0
    preferred = (n + 1) / (n + 2)

    def loss(log_temperature: float) -> float:
        logits = differences / (scale * math.exp(log_temperature))
        return float((np.logaddexp(0, -logits) * preferred + np.logaddexp(0, logits) * (1 - preferred)).mean())

    found = minimize_scalar(loss, bounds=(-_RANGE, _RANGE), method="bounded", options={"xatol": 1e-6})
    return scale * math.exp(float(found.x))


def cross_fitted(differences: np.ndarray, conversations: Sequence[str]) -> np.ndarray:
    """Each difference over a temperature that was fitted on the pairs of other conversations: (pairs,).

    Calibration measured on these is as it will be on new pairs; on those of the fit it would look better than it
    is. With fewer than two conversations nothing can be fitted, and the differences come back as they are.
    """
    calibrated = np.array(differences, dtype=float)
    folds = min(_FOLDS, len(set(conversations)))
    if folds >= 2:
        for fit, judged in GroupKFold(folds).split(differences, groups=np.array(conversations)):
            calibrated[judged] /= fit_temperature(differences[fit])
    return calibrated


def calibration_error(differences: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of sigmoid(difference) as the probability that chosen is preferred.

    Every pair counts in both orders, as (p, preferred) and (1 - p, not preferred), since which response comes
    first is arbitrary; then the usual mean over `bins` equal bins of |mean p - share preferred|
    (Guo et al. 2017, eq. 3). Chance alone gives a perfect forecast up to
    0.28 sqrt(bins / pairs).
    """
    p = probability(differences)
    forecast = np.concatenate([p, 1 - p])
    outcome = np.repeat([1.0, 0.0], len(p))
    bin_of = np.minimum((forecast * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=forecast - outcome, minlength=bins)
    return float(np.abs(gaps).sum() / len(forecast))


def brier(differences: np.ndarray) -> float:
    """Mean (1 - sigmoid(difference))^2 (Brier 1950): 0.25 for a forecast of one half, 0 for perfect certainty."""
    return float(((1 - probability(differences)) ** 2).mean())


def reliability(differences: np.ndarray, bins: int = 5) -> list[tuple[float, float, int]]:
    """For the pairs in each of `bins` equal bins of confidence, 0.5 to 1: mean confidence, share right, pairs.

    The confidence of a pair is sigmoid(|difference|). Empty bins are left out.
    """
    sure = probability(np.abs(differences))
    bin_of = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
    right = credit(differences)
    chosen = [bin_of == i for i in range(bins) if (bin_of == i).any()]
    return [(float(sure[one].mean()), float(right[one].mean()), int(one.sum())) for one in chosen]


def error_by_certainty(right: np.ndarray, certainty: np.ndarray, parts: int = 5) -> list[float]:
    """The share wrong in each of `parts` equal parts of the pairs, from the least to the most certain.

    `right` (pairs,) as `credit` gives it; `certainty` (pairs,) in any unit. `UserError` for fewer pairs than parts.
    """
    if len(right) < parts:
        raise UserError(f"{len(right)} pairs cannot be sorted into {parts} parts by certainty. Give more pairs.")
    order = np.argsort(certainty, kind="stable")
    return [float(1 - right[part].mean()) for part in np.array_split(order, parts)]


def coverage(
    differences: np.ndarray, drawn: np.ndarray, rng: np.random.Generator, level: float = 0.9, group: int = _GROUP
) -> float | None:
    """How often what happened lies within what the posterior forecast; about `level` for an honest posterior.

    A posterior predictive check (Gelman et al. 2013, section 6.3). `drawn` (draws, pairs) are the differences under
    heads drawn from the posterior, over the same temperature as `differences` (pairs,). One preference cannot
    tell 0.6 from 0.7, so pairs of like confidence are taken together, about `group` of them: each draw forecasts the
    share of them that is right, coin tosses included, and the central `level` of these shares covers the share
    observed or does not, in part where it lies on the edge (Czado et al. 2009, eq. 2). None if there are too few
    pairs for two groups.
    """
    groups = len(differences) // group
    if groups < 2:
        return None
    order = np.argsort(np.abs(differences), kind="stable")
    side = np.where(differences >= 0, 1.0, -1.0)
    forecast = rng.random(drawn.shape) < probability(drawn * side)
    right = credit(differences)
    tail = (1 - level) / 2
    inside = 0.0
    for part in np.array_split(order, groups):
        shares, observed = forecast[:, part].mean(1), right[part].mean()
        below, up_to = float((shares < observed - _SAME).mean()), float((shares < observed + _SAME).mean())
        if up_to > below:
            inside += max(0.0, min(up_to, 1 - tail) - max(below, tail)) / (up_to - below)
        else:
            inside += tail < below < 1 - tail
    return inside / groups
