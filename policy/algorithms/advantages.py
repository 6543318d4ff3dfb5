"""Returns, baselines and advantages: how much better each token was than expected.

Shapes: `n` responses, `group` consecutive ones answer the same prompt, padded to `T` tokens; `mask` (n, T) is 1.0 on
response tokens. Rewards are in units of the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def discounted_returns(rewards: torch.Tensor, discount: float) -> torch.Tensor:
    """G_t = r_t + discount G_{t+1}: (n, T). Sutton & Barto 2018, eq. 3.9. Rewards past a response's end must be 0."""
    returns = rewards.clone()
    for t in reversed(range(rewards.shape[1] - 1)):
        returns[:, t] += discount * returns[:, t + 1]
    return returns


@dataclass(frozen=True)
class RunningMean:
    """Mean of all rewards of earlier steps: a baseline that does not depend on the responses it is used for."""

    mean: float = 0.0
    count: int = 0

    def after(self, rewards: torch.Tensor) -> RunningMean:
        """The mean with these rewards (n,) counted in."""
        count = self.count + rewards.numel()
        return RunningMean(self.mean + (float(rewards.double().sum()) - self.mean * rewards.numel()) / count, count)


def reinforce_advantages(
    rewards: torch.Tensor, mask: torch.Tensor, baseline: RunningMean, discount: float
) -> torch.Tensor:
    """REINFORCE with baseline: the discounted return from each token on, less the running mean: (n, T).

    Williams 1992, section 5. The first step has seen no reward yet and uses no baseline.
    """
    return (discounted_returns(rewards, discount) - baseline.mean) * mask


def leave_one_out(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Each reward less the mean of the others in its group: (n,) to (n,).

    Kool et al. 2019; Ahmadian et al. 2024, eq. 4.
    """
    grouped = rewards.view(-1, group)
    others = (grouped.sum(1, keepdim=True) - grouped) / (group - 1)
    return (grouped - others).view(-1)


def rloo_advantages(rewards: torch.Tensor, mask: torch.Tensor, group: int) -> torch.Tensor:
    """RLOO: the whole response is one action; its baseline is the mean reward of the others in its group: (n, T)."""
    return leave_one_out(rewards.sum(1), group)[:, None] * mask


def group_advantages(rewards: torch.Tensor, group: int, scale: bool) -> torch.Tensor:
    """Each reward less the mean of its group, divided by their standard deviation if `scale`: (n,) to (n,).

    Scaled: GRPO, Shao et al. 2024, section 4.1.2 (unbiased standard deviation plus 1e-4, as in TRL). Not scaled:
    Dr. GRPO, Liu et al. 2025, eq. 3. The mean contains the reward itself, so without `scale` the expected gradient is
    (group - 1)/group of the true one. Dividing by the spread changes the weights of prompts, so the gradient is biased.
    """
    grouped = rewards.view(-1, group)
    centred = grouped - grouped.mean(1, keepdim=True)
    if scale:
        centred = centred / (grouped.std(1, keepdim=True) + 1e-4)
    return centred.view(-1)


def temporal_difference_errors(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, discount: float
) -> torch.Tensor:
    """delta_t = r_t + discount V(s_t+1) - V(s_t), with V = 0 after the end: (n, T).

    values: (n, T), V of the state before token t. Sutton & Barto 2018, eq. 6.5.
    """
    values = values * mask
    following = values.roll(-1, dims=1)
    following[:, -1] = 0
    return (rewards + discount * following - values) * mask


def generalized_advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, discount: float, lambda_: float
) -> torch.Tensor:
    """GAE: the sum over l of (discount lambda)^l delta_t+l: (n, T). Schulman et al. 2016, eq. 16.

    `lambda_` 1 is the return less the value (REINFORCE with a learned baseline: unbiased whatever the values are);
    0 is the one-step error of actor-critic: least variance, biased by the errors of the values.
    """
    errors = temporal_difference_errors(rewards, values, mask, discount)
    return discounted_returns(errors, discount * lambda_) * mask


def whiten(values: torch.Tensor, mask: torch.Tensor, shift_mean: bool = True) -> torch.Tensor:
    """Scaled to variance 1 over the tokens of the mask, and with `shift_mean` to mean 0: (n, T); 0 elsewhere.

    Ziegler et al. 2019, section 2.2. As in its code, 1e-8 is added to the variance: equal values become 0, not noise.
    The mean and the spread of a batch contain each response itself, so a gradient of whitened advantages is biased,
    less so in larger batches.
    """
    count = mask.sum()
    mean = (values * mask).sum() / count
    variance = ((values - mean).square() * mask).sum() / count
    whitened = (values - mean) * (variance + 1e-8).rsqrt()
    return (whitened if shift_mean else whitened + mean) * mask
