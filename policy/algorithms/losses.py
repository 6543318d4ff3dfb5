"""The losses: surrogates of the policy gradient, their aggregation over tokens, the value loss, the entropy.

Shapes: `n` responses, padded to `T` tokens; `mask` (n, T) is 1.0 on response tokens.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Aggregation = Literal["sum", "sequence_mean", "token_mean", "fixed"]


def surrogate(logprobs: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """-A_t log pi(token_t) of each token, whose gradient is the policy gradient (Williams 1992): (n, T)."""
    return -(advantages * logprobs)


def clipped_surrogate(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    clip: float,
    clip_high: float | None = None,
) -> torch.Tensor:
    """PPO: -min(ratio A_t, clamp(ratio, 1 - clip, 1 + clip_high) A_t) of each token: (n, T).

    ratio = pi / pi_old, where pi_old drew the tokens with `old_logprobs` (n, T). Schulman et al. 2017, eq. 7; a
    `clip_high` other than `clip` is DAPO's (Yu et al. 2025, section 3.1). At ratio 1 its gradient is the policy
    gradient.
    """
    ratio = (logprobs - old_logprobs).exp()
    near = ratio.clamp(1 - clip, 1 + (clip if clip_high is None else clip_high))
    return -(ratio * advantages).minimum(near * advantages)


def truncated_importance_weights(logprobs: torch.Tensor, sampled: torch.Tensor, cap: float) -> torch.Tensor:
    """min(pi / pi_sampled, cap) of each token, constants: (n, T). Yao et al. 2025, "truncated importance sampling".

    `sampled` are the log-probabilities under the distribution that drew the tokens, `logprobs` those of the policy as
    training computes them. The two differ by rounding; the cap keeps rare large ratios from adding noise.
    """
    return (logprobs - sampled).detach().exp().clamp(max=cap)


def aggregate(
    per_token: torch.Tensor,
    mask: torch.Tensor,
    n: int,
    how: Aggregation = "sum",
    *,
    max_tokens: int = 1,
    tokens: float | None = None,
) -> torch.Tensor:
    """Reduce the losses of tokens (m, T) to a scalar, such that the parts of a batch of `n` responses add up.

    "sum": over the tokens of a response, then the mean over responses; the policy gradient itself. "sequence_mean": the
    mean over the tokens of each response first; GRPO (Shao et al. 2024, eq. 3), in which tokens of long responses count
    less. "token_mean": over all `tokens` of the batch (by default those given); DAPO (Yu et al. 2025, eq. 8). "fixed":
    divided by `max_tokens` for every response; Dr. GRPO (Liu et al. 2025, section 3.2).
    """
    terms = per_token * mask
    if how == "sequence_mean":
        return (terms.sum(1) / mask.sum(1)).sum() / n
    if how == "token_mean":
        return terms.sum() / (mask.sum() if tokens is None else tokens)
    if how == "fixed":
        return terms.sum() / (n * max_tokens)
    return terms.sum() / n


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """-sum_v pi(v) log pi(v) of the softmax of logits (..., vocabulary): (...), nats; -inf logits count 0."""
    logprobs = logits.log_softmax(-1)
    possible = logprobs > -math.inf
    return -(logprobs.exp() * logprobs.masked_fill(~possible, 0.0)).sum(-1)


def value_loss(
    values: torch.Tensor,
    returns: torch.Tensor,
    mask: torch.Tensor,
    n: int,
    *,
    old_values: torch.Tensor | None = None,
    clip: float | None = None,
) -> torch.Tensor:
    """Half the squared error of values (n, T) against returns (n, T), summed over tokens, divided by `n`: a scalar.

    Schulman et al. 2017, eq. 9. With `clip`, the larger of this error and that of the values kept within `clip` of
    `old_values` (value clipping, Engstrom et al. 2020).
    """
    errors = (values - returns).square()
    if clip is not None:
        assert old_values is not None, "clipping is around the values before the update"
        near = old_values + (values - old_values).clamp(-clip, clip)
        errors = errors.maximum((near - returns).square())
    return 0.5 * (errors * mask).sum() / n


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> float:
    """1 - Var(returns - values)/Var(returns) over the tokens of the mask: 1 is perfect, 0 no better than a constant.

    values, returns, mask: (n, T). 0 if the returns do not vary.
    """
    chosen = mask.bool()
    spread = returns[chosen].double().var(correction=0)
    left = (returns - values)[chosen].double().var(correction=0)
    return float(1 - left / spread) if spread > 0 else 0.0
