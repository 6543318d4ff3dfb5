"""Score differences of pairs, chosen less rejected: what every figure of a reward model is computed from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from foundation.errors import UserError
from reward_model.labels.comparisons import swapped
from reward_model.labels.reading import to_pairs
from reward_model.labels.records import Pair, Row
from reward_model.labels.rendering import rendered
from reward_model.scorer import RewardScorer

_EVEN = 1e-9


def decided(rows: Sequence[Row]) -> tuple[list[Row], list[Pair]]:
    """The rows in which people preferred one response, and what they compare, the preferred one first.

    Of a row that prefers its second response, `votes` and `chosen_left` are turned round as well.
    """
    said = [
        (row, pair)
        for row, pair in zip(rows, to_pairs(rows), strict=True)
        if pair.decided and pair.weight > 0 and abs(pair.p_chosen - 0.5) > _EVEN
    ]
    both = [(row, pair) if pair.p_chosen > 0.5 else (_turned(row), swapped(pair)) for row, pair in said]
    if not both:
        raise UserError("there are no pairs to evaluate the reward model on. Give at least one preference.")
    return [row for row, _ in both], [pair for _, pair in both]


def _turned(row: Row) -> Row:
    """What the row says of its annotators, with the other response as the chosen one."""
    votes, left = row.get("votes"), row.get("chosen_left")
    return {
        **row,
        "votes": [1 - vote if vote in (0, 0.5, 1) else vote for vote in votes] if isinstance(votes, list) else votes,
        "chosen_left": left and [None if each is None else not each for each in left],
    }


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
