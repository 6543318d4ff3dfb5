"""To add an algorithm, add an entry to `ALGORITHMS` here: how it computes advantages, and the form of its loss.

The mathematics is in the other files of this folder. `policy/config.py` applies what a run's configuration changes
about an entry and checks that it can work. Offline algorithms (DPO) are not here: they sample nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policy.algorithms.advantages import (
    RunningMean,
    discounted_returns,
    generalized_advantages,
    group_advantages,
    reinforce_advantages,
    rloo_advantages,
)
from policy.algorithms.kl import KLEstimator, KLPlace
from policy.algorithms.losses import Aggregation

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Experience:
    """The `n` responses of a step, over all processes, with what advantages are computed from.

    rewards, mask: (n, T); values: (n, T), the value network's predictions before each token; `group` consecutive rows
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

    advantages: Callable[[Experience], torch.Tensor]
    clipped: bool = False  # PPO's ratio clipping; otherwise the plain policy gradient
    needs_group: bool = False  # compares responses to one prompt
    needs_values: bool = False  # has a value network
    whiten: bool = False
    aggregation: Aggregation = "sum"
    kl_in: KLPlace = "reward"
    kl_estimator: KLEstimator = "k1"


def _gae(batch: Experience, lambda_: float) -> torch.Tensor:
    assert batch.values is not None, "this algorithm needs a value network"
    return generalized_advantages(batch.rewards, batch.values, batch.mask, batch.discount, lambda_)


def _reinforce(batch: Experience) -> torch.Tensor:
    if batch.values is not None:
        return _gae(batch, lambda_=1.0)
    return reinforce_advantages(batch.rewards, batch.mask, batch.baseline, batch.discount)


def _grpo(batch: Experience, scale: bool = True) -> torch.Tensor:
    return group_advantages(batch.rewards.sum(1), batch.group, scale)[:, None] * batch.mask


ALGORITHMS: dict[str, Algorithm] = {
    # Williams 1992. With a value network: Sutton & Barto 2018, section 13.4.
    "reinforce": Algorithm(_reinforce),
    # Kool et al. 2019; Ahmadian et al. 2024.
    "rloo": Algorithm(lambda batch: rloo_advantages(batch.rewards, batch.mask, batch.group), needs_group=True),
    # Shao et al. 2024. Its k3 in the loss has the gradient of another KL (see `kl_loss`): k2 is the default here.
    "grpo": Algorithm(
        _grpo, clipped=True, needs_group=True, aggregation="sequence_mean", kl_in="loss", kl_estimator="k2"
    ),
    # Liu et al. 2025.
    "dr_grpo": Algorithm(
        lambda batch: _grpo(batch, scale=False),
        clipped=True,
        needs_group=True,
        aggregation="fixed",
        kl_in="loss",
        kl_estimator="k2",
    ),
    # Hu 2025, section 3.
    "reinforce_plus_plus": Algorithm(
        lambda batch: discounted_returns(batch.rewards, batch.discount) * batch.mask, clipped=True, whiten=True
    ),
    # Schulman et al. 2017, with the whitening of Ziegler et al. 2019.
    "ppo": Algorithm(lambda batch: _gae(batch, batch.gae_lambda), clipped=True, needs_values=True, whiten=True),
}
