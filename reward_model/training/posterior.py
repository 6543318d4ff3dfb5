"""How sure the trained head is: its posterior (`uncertainty.py`) after the training pairs."""

from collections.abc import Sequence

import torch

from reward_model.labels.records import Pair
from reward_model.scorer import RewardScorer
from reward_model.uncertainty import Laplace


def fit_posterior(scorer: RewardScorer, pairs: Sequence[Pair]) -> Laplace:
    """How sure the head is after the training pairs, whose weights count relative to their mean."""
    renderer = scorer.base.renderer.unbounded  # the scorer cuts
    prompts = {pair.prompt_key: renderer.prompt_ids(pair.prompt) for pair in pairs}
    keys = sorted({(pair.prompt_key, text) for pair in pairs for text in pair.responses})
    place = {key: number for number, key in enumerate(keys)}
    found = scorer.features_of([prompts[key] for key, _ in keys], [renderer.response_ids(text) for _, text in keys])
    features = found[[place[pair.prompt_key, text] for pair in pairs for text in pair.responses]]
    weights = torch.tensor([pair.weight for pair in pairs])
    return Laplace.fit(features[::2] - features[1::2], scorer.head, weights / weights.mean())
