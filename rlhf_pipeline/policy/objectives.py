"""The maths of the policy stage: pure functions on tensors, each with its source.

Shapes: `n` responses, of which each `group` in a row answer the same prompt, padded to `T` tokens; `mask`
(n, T) is 1.0 on response tokens. Rewards are in units of the score. A new algorithm is one function more and one
line in `ADVANTAGES`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

KLEstimator = Literal["k1", "k2", "k3"]


def kl_estimate(logprobs: torch.Tensor, ref_logprobs: torch.Tensor, estimator: KLEstimator) -> torch.Tensor:
    """KL(policy || reference) at each token, estimated from the token that was sampled: (n, T), nats.

    With d = logprobs - ref_logprobs: k1 = d (unbiased, signed), k2 = d^2/2 (biased, low variance),
    k3 = exp(-d) - 1 + d (unbiased, never negative). Schulman 2020, "Approximating KL Divergence". Inside
    the reward, k1 alone makes the expected gradient that of the KL itself.
    """
    difference = logprobs - ref_logprobs
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    return torch.expm1(-difference) + difference


def token_rewards(
    scores: torch.Tensor,
    kl: torch.Tensor,
    mask: torch.Tensor,
    finished: torch.Tensor,
    kl_coefficient: float,
    missing_eos_penalty: float = 0.0,
    score_clip: float | None = None,
) -> torch.Tensor:
    """The reward of every token: -beta KL at each, and at the last one the score as well: (n, T).

    scores: (n,); finished: (n,) bool. The score is clipped to +-`score_clip`, and an unfinished response loses
    `missing_eos_penalty`. Ziegler et al. 2019, eq. 2; Stiennon et al. 2020, section 3.4.
    """
    final = scores if score_clip is None else scores.clamp(-score_clip, score_clip)
    final = final - missing_eos_penalty * (~finished).to(final.dtype)
    rewards = -kl_coefficient * kl * mask
    last = mask.sum(1).long() - 1
    return rewards.index_put((torch.arange(len(last), device=last.device), last), final, accumulate=True)


def discounted_returns(rewards: torch.Tensor, discount: float) -> torch.Tensor:
    """G_t = r_t + discount G_{t+1}: (n, T). Sutton & Barto 2018, eq. 3.9. Rewards past a response's end must be 0."""
    returns = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        running = rewards[:, t] + discount * running
        returns[:, t] = running
    return returns


def leave_one_out(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Each reward less the mean of the others of its prompt: (n,) to (n,).

    Kool et al. 2019; Ahmadian et al. 2024, eq. 4.
    """
    grouped = rewards.view(-1, group)
    others = (grouped.sum(1, keepdim=True) - grouped) / (group - 1)
    return (grouped - others).view(-1)


def group_advantages(rewards: torch.Tensor, group: int, scale: bool) -> torch.Tensor:
    """Each reward less the mean of its prompt's `group` rewards, with `scale` divided by their spread: (n,) to (n,).

    Scaled: GRPO, Shao et al. 2024, section 4.1.2 (unbiased standard deviation plus 1e-4, as in TRL). Not scaled:
    Dr. GRPO, Liu et al. 2025, eq. 3. The mean contains the reward itself, so that without `scale` the expected gradient
    is (group - 1)/group of the true one; dividing by the spread weighs prompts anew, and the gradient is biased.
    """
    grouped = rewards.view(-1, group)
    centred = grouped - grouped.mean(1, keepdim=True)
    if scale:
        centred = centred / (grouped.std(1, keepdim=True) + 1e-4)
    return centred.view(-1)


def temporal_difference_errors(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, discount: float
) -> torch.Tensor:
    """delta_t = r_t + discount V(s_t+1) - V(s_t), where nothing is to be had after the end: (n, T).

    values: (n, T), V of the state in which token t was chosen. Sutton & Barto 2018, eq. 6.5.
    """
    values = values * mask
    following = torch.nn.functional.pad(values[:, 1:], (0, 1))
    return (rewards + discount * following - values) * mask


def generalized_advantages(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, discount: float, lambda_: float
) -> torch.Tensor:
    """GAE: the sum over l of (discount lambda)^l delta_t+l: (n, T). Schulman et al. 2016, eq. 16.

    `lambda_` 1 is the return less the value (REINFORCE with a learned baseline: unbiased whatever the values are);
    0 is the one-step error of actor-critic: least variance, and biased by what the values get wrong.
    """
    errors = temporal_difference_errors(rewards, values, mask, discount)
    return discounted_returns(errors, discount * lambda_) * mask


def whiten(values: torch.Tensor, mask: torch.Tensor, shift_mean: bool = True) -> torch.Tensor:
    """Scaled to variance 1 over the tokens of the mask, and with `shift_mean` to mean 0: (n, T); 0 elsewhere.

    Ziegler et al. 2019, section 2.2, whose code adds 1e-8 to the variance too: equal values become 0, not noise.
    """
    count = mask.sum()
    mean = (values * mask).sum() / count
    variance = ((values - mean).square() * mask).sum() / count
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean) * mask


@dataclass(frozen=True)
class RunningMean:
    """Mean of all rewards seen before this step: a baseline that does not depend on the responses it judges."""

    mean: float = 0.0
    count: int = 0

    def after(self, rewards: torch.Tensor) -> "RunningMean":
        """The mean once these rewards (n,) are counted in."""
        count = self.count + rewards.numel()
        return RunningMean(self.mean + (float(rewards.double().sum()) - self.mean * rewards.numel()) / count, count)


def rloo_advantages(
    rewards: torch.Tensor, mask: torch.Tensor, group: int, baseline: RunningMean, discount: float
) -> torch.Tensor:
    """RLOO: the whole response is one action, its baseline the mean of its siblings' rewards: (n, T)."""
    return leave_one_out(rewards.sum(1), group)[:, None] * mask


def reinforce_advantages(
    rewards: torch.Tensor, mask: torch.Tensor, group: int, baseline: RunningMean, discount: float
) -> torch.Tensor:
    """REINFORCE with baseline: discounted return from each token on, less the running mean: (n, T).

    Williams 1992, section 5. The first step has seen no reward yet and uses no baseline.
    """
    return (discounted_returns(rewards, discount) - baseline.mean) * mask


Advantages = Callable[[torch.Tensor, torch.Tensor, int, RunningMean, float], torch.Tensor]
ADVANTAGES: dict[str, Advantages] = {"rloo": rloo_advantages, "reinforce": reinforce_advantages}


def policy_gradient_loss(logprobs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, n: int) -> torch.Tensor:
    """-sum_t A_t log pi(token_t), summed over the rows at hand, divided by the whole batch's `n` responses: a scalar.

    Its gradient is the policy gradient (Williams 1992). Dividing by `n` makes micro-batches and processes add up.
    """
    return -(advantages * logprobs * mask).sum() / n


def clipped_policy_loss(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    n: int,
    clip: float,
) -> torch.Tensor:
    """PPO: -sum_t min(ratio A_t, clamp(ratio, 1 +- clip) A_t), divided by `n` as in `policy_gradient_loss`: a scalar.

    ratio = pi / pi_old, of which `old_logprobs` (n, T) drew the tokens. Schulman et al. 2017, eq. 7. At ratio 1 its
    gradient is the policy gradient.
    """
    ratio = torch.exp((logprobs - old_logprobs) * mask)
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    return -(surrogate * mask).sum() / n


def value_loss(
    values: torch.Tensor,
    returns: torch.Tensor,
    mask: torch.Tensor,
    n: int,
    old_values: torch.Tensor | None = None,
    clip: float | None = None,
) -> torch.Tensor:
    """Half the squared error of values (n, T) against returns (n, T), summed over tokens, divided by `n`: a scalar.

    Schulman et al. 2017, eq. 9. With `clip`, the worse of this and of the error of values kept within `clip` of
    `old_values` (the value clipping that Engstrom et al. 2020 describe).
    """
    errors = (values - returns).square()
    if clip is not None:
        assert old_values is not None, "clipping is around the values of before the update"
        near = old_values + (values - old_values).clamp(-clip, clip)
        errors = torch.maximum(errors, (near - returns).square())
    return 0.5 * (errors * mask).sum() / n


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """-sum_v pi(v) log pi(v) of the softmax of logits (..., vocabulary): (...), nats; -inf logits have no part."""
    logprobs = torch.log_softmax(logits, -1)
    possible = logprobs > -torch.inf
    return -(logprobs.exp() * logprobs.masked_fill(~possible, 0.0)).sum(-1)


def best_of_n_kl(n: int) -> float:
    """KL of the best of `n` responses to what they are drawn from: log n - (n - 1)/n nats, exact without ties.

    Nakano et al. 2021, appendix I; Gao et al. 2022, section 2.
    """
    return math.log(n) - (n - 1) / n
