"""How good a reward model is on pairs that it was not trained on.

Accuracy with a 95% interval, two controls on the same pairs, calibration before and after a temperature, what its
uncertainty is worth, and where it is right (`breakdown.py`). Nothing here trains the reward model; whoever calls sees
to it that the pairs are held out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foundation.errors import UserError
from reward_model.evaluation.accuracy import clustered_interval, credit
from reward_model.evaluation.baselines import BagOfWords, cross_validated, longer_wins
from reward_model.evaluation.breakdown import against, breakdown, length_bias
from reward_model.evaluation.calibration import (
    brier,
    calibration_error,
    coverage,
    cross_fitted,
    error_by_certainty,
    fit_temperature,
    reliability,
)
from reward_model.labels.data import Pair, Row, to_dataset, to_pairs
from reward_model.scorer import RewardScorer, check_reward_folder
from reward_model.uncertainty import preference_probability

_DRAWS = 500  # heads
_FIFTHS = 5
_EVEN = 1e-9


def evaluate_reward(
    reward: RewardScorer | Path | str, rows: Sequence[Row], older: RewardScorer | None = None
) -> dict[str, Any]:
    """Figures of a reward model (or the folder of one) on `rows`: all that docs/metrics.md lists.

    A tie of the model counts one half everywhere; rows that people found equal say nothing and are left out. The bag
    of words is the one saved beside the reward model at training; where there is none, it is fitted on `rows` by
    cross-validation over prompts. With an `older` reward model, the figures have `against`: what has changed since.
    """
    rows, pairs = decided(rows)
    scorer = reward if isinstance(reward, RewardScorer) else RewardScorer.load(Path(reward))
    measured = measure(scorer, pairs)
    differences = measured.differences
    prompts = [pair.prompt_key for pair in pairs]
    found = held_out_figures(scorer, pairs, measured, scorer.bag_of_words)
    if scorer.temperature is not None:
        found["ece_as_saved"] = calibration_error(differences / scorer.temperature)
    found |= breakdown(rows, pairs, differences)
    if older is not None:
        found["against"] = against(differences, score_differences(older, pairs), prompts)
    return found | reliabilities(pairs, differences)


def decided(rows: Sequence[Row]) -> tuple[list[Row], list[Pair]]:
    """The rows in which people preferred one response, and what they compare."""
    both = [(row, pair) for row, pair in zip(rows, to_pairs(rows), strict=True) if abs(pair.p_chosen - 0.5) > _EVEN]
    if not both:
        raise UserError("there are no pairs to evaluate the reward model on. Give at least one preference.")
    return [row for row, _ in both], [pair for _, pair in both]


def older_scorer(scorer: RewardScorer, folder: Path) -> RewardScorer:
    """The reward model of another folder, on the same base in memory where it was made for it."""
    same = check_reward_folder(folder) == scorer.base.name
    return RewardScorer.load(
        folder,
        scorer.base if same else None,
        dtype=str(scorer.base.base.dtype).removeprefix("torch."),
        device=str(scorer.base.device),
        name="older",
    )


@dataclass(frozen=True)
class Measured:
    """Of each pair, chosen less rejected: scores (pairs,), and features (pairs, d) as the head sees them.

    `centre` is the mean score of all these responses.
    """

    differences: np.ndarray
    features: torch.Tensor
    centre: float


def measure(scorer: RewardScorer, pairs: Sequence[Pair]) -> Measured:
    """Compute the features of every pair once, both responses rendered and cut as in training."""
    renderer = scorer.base.renderer
    longest = min(scorer.max_length or renderer.max_length, renderer.max_length)
    data = to_dataset([pair.row() for pair in pairs], renderer, longest).dataset
    sides = zip(data["chosen_ids"], data["rejected_ids"], data["prompt_length"], strict=True)
    both = [(ids[:start], ids[start:]) for chosen, rejected, start in sides for ids in (chosen, rejected)]
    features = scorer.shared_features([prompt for prompt, _ in both], [response for _, response in both])
    scores = scorer.scores(features)
    differences = scores[::2].double() - scores[1::2].double()
    return Measured(differences.numpy(), features[::2] - features[1::2], float(scores.mean()))


def score_differences(scorer: RewardScorer, pairs: Sequence[Pair]) -> np.ndarray:
    """Score of chosen less score of rejected: (pairs,)."""
    return measure(scorer, pairs).differences


def held_out_figures(
    scorer: RewardScorer, pairs: Sequence[Pair], measured: Measured, words: BagOfWords | None
) -> dict[str, Any]:
    """What can be said of any reward model on any pairs: `figures`, what its uncertainty is worth, length bias."""
    prompts = [pair.prompt_key for pair in pairs]
    return {
        **figures(pairs, measured.differences, words),
        **uncertainty_figures(scorer, measured, prompts),
        **length_bias(pairs, measured.differences),
    }


def reliabilities(pairs: Sequence[Pair], differences: np.ndarray) -> dict[str, list[tuple[float, float, int]]]:
    """The bins of `calibration.reliability` before and after the temperatures of `figures`."""
    calibrated = cross_fitted(differences, [pair.prompt_key for pair in pairs])
    return {"reliability": reliability(differences), "reliability_after": reliability(calibrated)}


def figures(pairs: Sequence[Pair], differences: np.ndarray, words: BagOfWords | None = None) -> dict[str, float]:
    """Accuracy, controls and calibration from score differences (pairs,), chosen less rejected.

    `ece` and `brier` are of the scores as they are, `ece_after` and `brier_after` with temperatures that were fitted on
    other prompts; `temperature` is the one fitted on all of these pairs.
    """
    prompts = [pair.prompt_key for pair in pairs]
    right, calibrated = credit(differences), cross_fitted(differences, prompts)
    low, high = clustered_interval(right, prompts)
    by_words = words.differences(pairs) if words else cross_validated(pairs)
    return {
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "n": len(pairs),
        "longer_wins": float(credit(longer_wins(pairs)).mean()),
        "bag_of_words": float(credit(by_words).mean()),
        "ece": calibration_error(differences),
        "ece_after": calibration_error(calibrated),
        "brier": brier(differences),
        "brier_after": brier(calibrated),
        "temperature": fit_temperature(differences),
    }


def uncertainty_figures(scorer: RewardScorer, measured: Measured, prompts: Sequence[str]) -> dict[str, float | None]:
    """What the posterior of the head is worth on these pairs; nothing where there is none, or fewer than five pairs.

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
    calibrated = cross_fitted(measured.differences, prompts)
    scale = np.divide(calibrated, measured.differences, out=np.ones(len(calibrated)), where=measured.differences != 0)
    return {
        "error_most_uncertain": errors[0],
        "error_least_uncertain": errors[-1],
        "coverage": coverage(calibrated, drawn * scale, np.random.default_rng(0)),
    }
