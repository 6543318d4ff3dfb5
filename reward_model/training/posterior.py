"""How sure the trained head is: its posterior (`uncertainty.py`) after the training pairs."""

from collections.abc import Sequence

import torch

from reward_model.evaluation.gate import of_first_prompts
from reward_model.labels.records import Pair
from reward_model.scorer import RewardScorer
from reward_model.uncertainty import Laplace

_MOST = 600  # pairs whose features are computed: with many labels that took longer than a third of the training


def computed_for(pairs: Sequence[Pair]) -> list[Pair]:
    """The training pairs that the posterior is fitted on, those of one prompt together; the others are like them."""
    return of_first_prompts(pairs, _MOST)


def fit_posterior(scorer: RewardScorer, pairs: Sequence[Pair]) -> Laplace:
    """How sure the head is after the training pairs, whose weights count relative to their mean.

    The curvature of many pairs is estimated from some (`computed_for`), each of which then stands for several.
    """
    chosen = computed_for(pairs)
    stands_for = len(pairs) / sum(pair.weight for pair in chosen)
    renderer = scorer.base.renderer.unbounded  # the scorer cuts
    prompts = {pair.prompt_key: renderer.prompt_ids(pair.prompt) for pair in chosen}
    keys = sorted({(pair.prompt_key, text) for pair in chosen for text in pair.responses})
    place = {key: number for number, key in enumerate(keys)}
    found = scorer.features_of([prompts[key] for key, _ in keys], [renderer.response_ids(text) for _, text in keys])
    features = found[[place[pair.prompt_key, text] for pair in chosen for text in pair.responses]]
    weights = torch.tensor([pair.weight for pair in chosen])
    return Laplace.fit(features[::2] - features[1::2], scorer.head, weights * stands_for)
