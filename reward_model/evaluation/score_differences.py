"""Score differences of pairs, chosen less rejected: what every figure of a reward model is computed from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from foundation.errors import UserError
from reward_model.labels.reading import to_pairs
from reward_model.labels.records import Pair, Row
from reward_model.labels.rendering import rendered
from reward_model.scorer import RewardScorer

_EVEN = 1e-9


def decided(rows: Sequence[Row]) -> tuple[list[Row], list[Pair]]:
    """The rows in which people preferred one response, and what they compare."""
    both = [(row, pair) for row, pair in zip(rows, to_pairs(rows), strict=True) if abs(pair.p_chosen - 0.5) > _EVEN]
    if not both:
        raise UserError("there are no pairs to evaluate the reward model on. Give at least one preference.")
    return [row for row, _ in both], [pair for _, pair in both]


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
    prompts: list[list[int]] = []
    responses: list[list[int]] = []
    for pair in pairs:
        prompt, both, _ = rendered(pair, renderer, longest)
        prompts += [prompt, prompt]
        responses += both
    features = scorer.shared_features(prompts, responses)
    scores = scorer.scores(features)
    differences = scores[::2].double() - scores[1::2].double()
    return Measured(differences.numpy(), features[::2] - features[1::2], float(scores.mean()))


def score_differences(scorer: RewardScorer, pairs: Sequence[Pair]) -> np.ndarray:
    """Score of chosen less score of rejected: (pairs,)."""
    return measure(scorer, pairs).differences
