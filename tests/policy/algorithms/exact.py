"""Policies to enumerate, and the losses of `ALGORITHMS` on them, for what is compared with exact values."""

from functools import cache
from typing import Any

import torch

from policy.algorithms.losses import aggregate, clipped_surrogate, surrogate
from policy.algorithms.registry import ALGORITHMS, Experience
from tests.policy.algorithms.enumerated import Enumerated, Loss

EXACT = 1e-9  # the project promises 1e-6
VISIBLE = 0.02


@cache
def policy(words: int = 4, length: int = 4) -> Enumerated:
    """242 responses of up to four tokens to two prompts; or fewer, where groups are large."""
    return Enumerated(words, length)


def size(group: int) -> Enumerated:
    """As large a model as lists all groups of this size in little time."""
    return policy() if group < 3 else policy(3, 3)


def loss_of(name: str, model: Enumerated, rewards: torch.Tensor, group: int = 1, **changes: Any) -> Loss:
    """The loss of one entry of `ALGORITHMS` on the first update after sampling, as `train_step` puts it together."""
    entry = ALGORITHMS[name]
    how, values = changes.pop("aggregation", entry.aggregation), changes.pop("values", None)

    def loss(logprobs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        known = None if values is None else values[rows]
        mask = model.mask[rows]
        advantages = entry.advantages(Experience(rewards[rows], mask, known, group, **changes))
        if entry.clipped:
            per_token = clipped_surrogate(logprobs, logprobs.detach(), advantages, clip=0.2)
        else:
            per_token = surrogate(logprobs, advantages)
        return aggregate(per_token, mask, group, how, max_tokens=mask.shape[1])

    return loss


def any_values(model: Enumerated, seed: int = 0) -> torch.Tensor:
    """A value network that knows nothing: any number, but the same one whenever it sees the same state."""
    drawn = torch.randn(len(model.tree.states), generator=torch.Generator().manual_seed(seed)) * 5 + 2
    return drawn.double()[model.states] * model.mask
