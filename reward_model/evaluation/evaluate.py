"""How good a reward model is on pairs that it was not trained on.

Accuracy with a 95% interval, two baselines on the same pairs, calibration before and after a temperature, what its
uncertainty is worth, and where it is right (`breakdown.py`). Nothing is trained here; the caller sees to it that the
pairs are held out.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reward_model.bag_of_words import BagOfWords
from reward_model.evaluation.accuracy import credit, share
from reward_model.evaluation.baselines import cross_validated, longer_wins
from reward_model.evaluation.breakdown import breakdown, length_bias
from reward_model.evaluation.calibration import (
    brier,
    calibration_error,
    coverage,
    cross_fitted,
    error_by_certainty,
    fit_temperature,
    reliability,
)
from reward_model.evaluation.older_model import against
from reward_model.evaluation.score_differences import Measured, decided, measure
from reward_model.labels.records import Pair, Row
from reward_model.scorer import RewardScorer
from reward_model.uncertainty import preference_probability

Differences = Callable[[Sequence[Pair]], np.ndarray]
"""What a reward model says of pairs: score of chosen less score of rejected (pairs,)."""

_DRAWS = 500  # heads
_FIFTHS = 5
_ROUNDING = 1e-6


def evaluate_reward(
    reward: RewardScorer | Path | str, rows: Sequence[Row], other: Differences | None = None
) -> dict[str, Any]:
    """Figures of a reward model (or the folder of one) on `rows`: all that docs/metrics.md lists.

    A tie of the model counts one half everywhere; rows that people found equal say nothing and are left out. The bag
    of words is the one saved beside the reward model at training; without one, it is fitted on `rows` by
    cross-validation over conversations. Beside an `other` reward model, the figures have `against`: what is different.
    """
    rows, pairs = decided(rows)
    scorer = reward if isinstance(reward, RewardScorer) else RewardScorer.load(Path(reward))
    measured = measure(scorer, pairs)
    differences = measured.differences
    conversations = [pair.conversation_key for pair in pairs]
    found = held_out_figures(scorer, pairs, measured, scorer.bag_of_words)
    if scorer.temperature is not None:
        found["ece_as_saved"] = calibration_error(differences / scorer.temperature)
    found |= breakdown(rows, pairs, differences)
    if other is not None:
        found["against"] = against(differences, other(pairs), conversations)
    return found | reliabilities(pairs, differences)


def held_out_figures(
    scorer: RewardScorer, pairs: Sequence[Pair], measured: Measured, words: BagOfWords | None
) -> dict[str, Any]:
    """What can be said of any reward model on any pairs: `figures`, what its uncertainty is worth, length bias."""
    conversations = [pair.conversation_key for pair in pairs]
    return {
        **figures(pairs, measured.differences, words),
        **uncertainty_figures(scorer, measured, conversations),
        **length_bias(pairs, measured.differences),
    }


def reliabilities(pairs: Sequence[Pair], differences: np.ndarray) -> dict[str, list[tuple[float, float, int]]]:
    """The bins of `calibration.reliability` before and after the temperatures of `figures`."""
    calibrated = cross_fitted(differences, [pair.conversation_key for pair in pairs])
    return {"reliability": reliability(differences), "reliability_after": reliability(calibrated)}


def figures(pairs: Sequence[Pair], differences: np.ndarray, words: BagOfWords | None = None) -> dict[str, float]:
    """Accuracy, baselines and calibration from score differences (pairs,), chosen less rejected.

    `ece` and `brier` are of the scores as they are, `ece_after` and `brier_after` with temperatures that were fitted on
    other conversations; `temperature` is the one fitted on all of these pairs.
    """
    conversations = [pair.conversation_key for pair in pairs]
    right, calibrated = credit(differences), cross_fitted(differences, conversations)
    by_words = words.differences(pairs) if words else cross_validated(pairs)
    return {
        **share(right, conversations),
        "same_score": float((np.abs(differences) < _ROUNDING).mean()),
        "longer_wins": float(credit(longer_wins(pairs)).mean()),
        "bag_of_words": float(credit(by_words).mean()),
        "ece": calibration_error(differences),
        "ece_after": calibration_error(calibrated),
        "brier": brier(differences),
        "brier_after": brier(calibrated),
        "temperature": fit_temperature(differences),
    }


def uncertainty_figures(
    scorer: RewardScorer, measured: Measured, conversations: Sequence[str]
) -> dict[str, float | None]:
    """What the posterior of the head is worth on these pairs; nothing without one or with fewer than five pairs.

    `error_most_uncertain` and `error_least_uncertain`: share wrong among the fifth of the pairs whose preference the
    posterior forecasts least and most surely. `coverage`: see `calibration.coverage`, at 90%.
    """
    if scorer.posterior is None or len(measured.differences) < _FIFTHS:
        return {}
    differences = torch.from_numpy(measured.differences)
    forecast = preference_probability(differences, scorer.posterior.variance(measured.features).double())
    errors = error_by_certainty(credit(measured.differences), (forecast - 0.5).abs().numpy(), _FIFTHS)
    heads = scorer.posterior.heads(scorer.head, _DRAWS, torch.Generator().manual_seed(0))
    drawn = (heads @ measured.features.T).double().numpy()
    calibrated = cross_fitted(measured.differences, conversations)
    scale = np.divide(calibrated, measured.differences, out=np.ones(len(calibrated)), where=measured.differences != 0)
    return {
        "error_most_uncertain": errors[0],
        "error_least_uncertain": errors[-1],
        "coverage": coverage(calibrated, drawn * scale, np.random.default_rng(0)),
    }
