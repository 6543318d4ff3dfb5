"""The maths of the policy stage: pure functions on tensors, each with its source.

Shapes: `n` responses, of which each `group` in a row answer the same prompt, padded to `T` tokens; `mask`
(n, T) is 1.0 on response tokens. Rewards are in units of the score. Which of them make up an algorithm stands in
`algorithms.py`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch

KLEstimator = Literal["k1", "k2", "k3"]
Aggregation = Literal["sum", "sequence_mean", "token_mean", "fixed"]


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


def kl_loss(
    logprobs: torch.Tensor, ref_logprobs: torch.Tensor, mask: torch.Tensor, estimator: KLEstimator
) -> torch.Tensor:
    """The KL at each token as a term of the loss, to be aggregated and weighed by beta: (n, T), nats, differentiable.

    What is differentiated here is the estimate, not its expectation, on tokens that the policy itself drew. Writing s
    for a token's context, and with the contexts held as they are: k2 has the expected gradient of KL(policy ||
    reference) at s; k3 (GRPO's, Shao et al. 2024, eq. 4) that of KL(reference || policy); k1 none at all, since the
    expectation of grad log pi is zero, so that it controls nothing and is refused. None of them sees what a token does
    to the KL of later ones; k1 in the reward does.
    """
    if estimator == "k1":
        raise ValueError("k1 in the loss has zero expected gradient; use k2, or k1 in the reward")
    return kl_estimate(logprobs, ref_logprobs, estimator) * mask


@dataclass(frozen=True)
class AdaptiveKL:
    """A KL coefficient that rises while the KL is above `target` (nats a response) and falls while it is below.

    Ziegler et al. 2019, section 2.2: the relative error is clipped to +-0.2, and the coefficient changes by that share
    once in `horizon` responses.
    """

    coefficient: float
    target: float
    horizon: float

    def after(self, kl: float, n: int) -> "AdaptiveKL":
        """The controller once `n` responses have shown this mean KL."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return replace(self, coefficient=self.coefficient * (1 + error * n / self.horizon))


def token_rewards(
    scores: torch.Tensor,
    kl: torch.Tensor,
    mask: torch.Tensor,
    finished: torch.Tensor,
    kl_coefficient: float,
    missing_eos_penalty: float = 0.0,
    score_clip: float | None = None,
    length_penalty: float = 0.0,
) -> torch.Tensor:
    """The reward of every token: -beta KL less `length_penalty` at each, at the last one the score as well: (n, T).

    scores: (n,); finished: (n,) bool. The score is clipped to +-`score_clip`, and an unfinished response loses
    `missing_eos_penalty`. Ziegler et al. 2019, eq. 2; Stiennon et al. 2020, section 3.4.
    """
    final = scores if score_clip is None else scores.clamp(-score_clip, score_clip)
    final = final - missing_eos_penalty * (~finished).to(final.dtype)
    rewards = -kl_coefficient * kl * mask
    if length_penalty:
        rewards = rewards - length_penalty * mask
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


@dataclass(frozen=True)
class RunningMoments:
    """Mean and spread of everything seen so far, for scores whose scale drifts."""

    mean: float = 0.0
    squares: float = 0.0
    count: int = 0

    def after(self, values: torch.Tensor) -> "RunningMoments":
        """The moments once these values (n,) are counted in. Chan et al. 1983, eq. 2.1."""
        fresh = values.double()
        n = fresh.numel()
        count, mean = self.count + n, float(fresh.mean())
        shift = mean - self.mean
        squares = self.squares + float((fresh - mean).square().sum()) + shift**2 * self.count * n / count
        return RunningMoments(self.mean + shift * n / count, squares, count)

    @property
    def std(self) -> float:
        """The standard deviation of what was seen, 0 before anything was."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    def normalised(self, values: torch.Tensor) -> torch.Tensor:
        """The values less the mean, in standard deviations: (n,)."""
        return (values - self.mean) / (self.std + 1e-8)


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


def reinforce_plus_plus_advantages(rewards: torch.Tensor, mask: torch.Tensor, discount: float) -> torch.Tensor:
    """REINFORCE++: the return from each token on, whitened over all tokens of the batch: (n, T). Hu 2025, section 3.

    The batch's mean is its baseline, which contains the response itself, and its spread depends on it too: biased, the
    less the larger the batch.
    """
    return whiten(discounted_returns(rewards, discount), mask)


def aggregate(
    per_token: torch.Tensor,
    mask: torch.Tensor,
    n: int,
    how: Aggregation = "sum",
    max_tokens: int = 1,
    tokens: float | None = None,
) -> torch.Tensor:
    """Make one number of (n', T) terms of the loss, so that the parts of a batch of `n` responses add up: a scalar.

    "sum" over a response's tokens, mean over responses: the policy gradient itself. "sequence_mean" over its tokens
    first: GRPO (Shao et al. 2024, eq. 3), in which a long response's tokens count less. "token_mean" over all `tokens`
    of the batch (by default those at hand): DAPO (Yu et al. 2025, eq. 8). "fixed" divides by `max_tokens`, the same for
    all: Dr. GRPO (Liu et al. 2025, section 3.2).
    """
    terms = per_token * mask
    if how == "sequence_mean":
        return (terms.sum(1) / mask.sum(1)).sum() / n
    if how == "token_mean":
        return terms.sum() / (mask.sum() if tokens is None else tokens)
    if how == "fixed":
        return terms.sum() / (n * max_tokens)
    return terms.sum() / n


def truncated_importance_weights(logprobs: torch.Tensor, sampled: torch.Tensor, cap: float) -> torch.Tensor:
    """min(pi / pi_sampled, cap) of each token, constants: (n, T). Yao et al. 2025, "truncated importance sampling".

    `sampled` are the log-probabilities under the distribution that drew the tokens, `logprobs` those of the policy by
    the arithmetic of training. The two differ by rounding; the cap keeps rare large ratios from adding noise.
    """
    return torch.exp((logprobs - sampled).detach()).clamp(max=cap)


def policy_gradient_loss(logprobs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, n: int) -> torch.Tensor:
    """-sum_t A_t log pi(token_t), summed over the rows at hand, divided by the whole batch's `n` responses: a scalar.

    Its gradient is the policy gradient (Williams 1992). Dividing by `n` makes micro-batches and processes add up.
    """
    return -(advantages * logprobs * mask).sum() / n


def clipped_surrogate(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    clip: float,
    clip_high: float | None = None,
) -> torch.Tensor:
    """PPO: -min(ratio A_t, clamp(ratio, 1 - clip, 1 + clip_high) A_t) of each token: (n, T).

    ratio = pi / pi_old, of which `old_logprobs` (n, T) drew the tokens. Schulman et al. 2017, eq. 7; `clip_high` other
    than `clip` is DAPO's (Yu et al. 2025, section 3.1). At ratio 1 its gradient is the policy gradient.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    near = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    return -torch.minimum(ratio * advantages, near * advantages)


def clipped_policy_loss(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    n: int,
    clip: float,
) -> torch.Tensor:
    """`clipped_surrogate`, summed over tokens and divided by `n` as in `policy_gradient_loss`: a scalar."""
    return aggregate(clipped_surrogate(logprobs * mask, old_logprobs * mask, advantages, clip), mask, n)


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


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> float:
    """1 - Var(returns - values)/Var(returns) over the tokens of the mask: 1 is perfect, 0 no better than a constant.

    values, returns, mask: (n, T). 0 where the returns do not vary.
    """
    chosen = mask.bool()
    spread = returns[chosen].double().var(correction=0)
    left = (returns - values)[chosen].double().var(correction=0)
    return float(1 - left / spread) if spread > 0 else 0.0


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
