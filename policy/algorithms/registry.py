"""The algorithms, each said in one entry of `ALGORITHMS`: how it weighs tokens, and what else is its own.

A new one is one more entry. The maths is in `objectives.py`; what a run's configuration changes about an entry, and
what it has to have for it, in `config.py`. Offline algorithms are not here: they sample nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from policy.algorithms.objectives import (
    Aggregation,
    KLEstimator,
    RunningMean,
    generalized_advantages,
    group_advantages,
    reinforce_advantages,
    reinforce_plus_plus_advantages,
    rloo_advantages,
)

KLPlace = Literal["reward", "loss"]


@dataclass(frozen=True)
class Judged:
    """The `n` responses of a step, over all processes, once their rewards are known.

    rewards, mask: (n, T); values: (n, T), what a value network expected before each token; each `group` rows in a row
    answer one prompt.
    """

    rewards: torch.Tensor
    mask: torch.Tensor
    values: torch.Tensor | None = None
    group: int = 1
    baseline: RunningMean = field(default_factory=RunningMean)
    discount: float = 1.0
    gae_lambda: float = 1.0


@dataclass(frozen=True)
class Algorithm:
    """What makes one policy-gradient algorithm: from rewards to advantages (n, T), and the form of its loss."""

    advantages: Callable[[Judged], torch.Tensor]
    clipped: bool = False  # PPO's ratio clipping; without it, the policy gradient as it is
    needs_group: bool = False  # compares responses to one prompt
    needs_values: bool = False  # has a value network
    whiten: bool = False
    aggregation: Aggregation = "sum"
    kl_in: KLPlace = "reward"
    kl_estimator: KLEstimator = "k1"


def with_values(judged: Judged, lambda_: float) -> torch.Tensor:
    """Generalised advantages over what the value network expected: (n, T)."""
    assert judged.values is not None, "this algorithm needs a value network"
    return generalized_advantages(judged.rewards, judged.values, judged.mask, judged.discount, lambda_)


def _reinforce(judged: Judged) -> torch.Tensor:
    if judged.values is not None:
        return with_values(judged, lambda_=1.0)
    return reinforce_advantages(judged.rewards, judged.mask, judged.group, judged.baseline, judged.discount)


def _rloo(judged: Judged) -> torch.Tensor:
    return rloo_advantages(judged.rewards, judged.mask, judged.group, judged.baseline, judged.discount)


def _grpo(judged: Judged, scale: bool = True) -> torch.Tensor:
    return group_advantages(judged.rewards.sum(1), judged.group, scale)[:, None] * judged.mask


ALGORITHMS: dict[str, Algorithm] = {
    # Williams 1992. With a value network: Sutton & Barto 2018, section 13.4.
    "reinforce": Algorithm(_reinforce),
    # Kool et al. 2019; Ahmadian et al. 2024.
    "rloo": Algorithm(_rloo, needs_group=True),
    # Shao et al. 2024. Its k3 in the loss has another KL's gradient (see `kl_loss`): k2 is the default here.
    "grpo": Algorithm(
        _grpo, clipped=True, needs_group=True, aggregation="sequence_mean", kl_in="loss", kl_estimator="k2"
    ),
    # Liu et al. 2025.
    "dr_grpo": Algorithm(
        lambda judged: _grpo(judged, scale=False),
        clipped=True,
        needs_group=True,
        aggregation="fixed",
        kl_in="loss",
        kl_estimator="k2",
    ),
    # Hu 2025.
    "reinforce_plus_plus": Algorithm(
        lambda judged: reinforce_plus_plus_advantages(judged.rewards, judged.mask, judged.discount), clipped=True
    ),
    # Schulman et al. 2017, with the whitening of Ziegler et al. 2019.
    "ppo": Algorithm(
        lambda judged: with_values(judged, judged.gae_lambda), clipped=True, needs_values=True, whiten=True
    ),
}
