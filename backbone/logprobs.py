"""Log-probabilities of given responses, without ever holding the full logits.

Only positions that predict a response token go through the LM head, a chunk at a time, and only the gradient of each
chunk with respect to the hidden states is kept. Memory is chunk x vocabulary, not batch x length x vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from backbone.adapters import SharedBase
from backbone.hidden_states import states_before
from backbone.tokens import Ids

_RESPONSES = 16  # at a time, where nothing is kept for gradients


class TokenLogprobs(NamedTuple):
    """Each (batch, longest response), fp32, zero where `mask` is 0.

    `logprobs` in nats, `entropy` of the whole next-token distribution in nats, `mask` 1.0 on response tokens.
    """

    logprobs: torch.Tensor
    entropy: torch.Tensor
    mask: torch.Tensor


@torch.no_grad()
def response_kl(
    base: SharedBase, adapter: str, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], temperature: float = 1.0
) -> torch.Tensor:
    """KL(policy || base) of whole responses, estimated on responses that the policy drew: (n,), nats, on the CPU.

    Of each, sum_t log pi(token_t) - log pi_base(token_t) at the sampling temperature: Schulman 2020, k1. Under top-p
    sampling it is that of the untruncated distributions on the responses that were drawn.
    """
    found = []
    for start in range(0, len(response_ids), _RESPONSES):
        rows = slice(start, start + _RESPONSES)
        with base.using(adapter):
            policy = response_logprobs(base, prompt_ids[rows], response_ids[rows], temperature).logprobs
        with base.using(None):
            reference = response_logprobs(base, prompt_ids[rows], response_ids[rows], temperature).logprobs
        found.append((policy - reference).sum(1).cpu())
    return torch.cat(found)


def response_logprobs(
    base: SharedBase,
    prompt_ids: Sequence[Ids],
    response_ids: Sequence[Ids],
    temperature: float = 1.0,
    chunk: int | None = None,
    differentiable_entropy: bool = False,
) -> TokenLogprobs:
    """Return log pi(token | prompt, tokens before it) for every response token, under the base's active adapter.

    `temperature` divides the logits, as it did while sampling. Differentiable if gradients are enabled, the
    entropy only if asked for. `chunk` is how many positions go through the LM head at once; by default as many as the
    base's `sizes` allow: on a CPU, as keep the logits in its cache. Consecutive responses to the same prompt share its
    computation.
    """
    mask = response_mask(response_ids)
    rows, columns = mask.nonzero(as_tuple=True)
    targets = torch.tensor([token for response in response_ids for token in response], device=base.device)
    states = states_before(base, prompt_ids, response_ids)
    chunk = chunk or max(16, base.sizes.logit_bytes // (4 * base.lm_table.shape[0]))
    head = _Head.apply if base.linear_head else _own_head
    parts = [
        head(base, temperature, states[start : start + chunk], targets[start : start + chunk], differentiable_entropy)
        for start in range(0, len(targets), chunk)
    ]
    logprobs, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
    index = (rows.to(base.device), columns.to(base.device))
    zeros = torch.zeros(mask.shape, device=base.device)
    return TokenLogprobs(zeros.index_put(index, logprobs), zeros.index_put(index, entropies), mask.to(base.device))


def _own_head(
    base: SharedBase, temperature: float, states: torch.Tensor, targets: torch.Tensor, entropic: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_Head`, by all that the model itself does; the logits are computed again in the backward pass."""

    def compute(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logprobs = torch.log_softmax(base.lm_head(states).float() / temperature, -1)
        chosen = logprobs.gather(-1, targets[:, None]).squeeze(-1)
        return chosen, -(logprobs.exp() * logprobs).sum(-1)

    found: tuple[torch.Tensor, torch.Tensor]
    found = checkpoint(compute, states, use_reentrant=False) if torch.is_grad_enabled() else compute(states)
    return found[0], found[1] if entropic else found[1].detach()


class _Head(torch.autograd.Function):
    """Hidden states (n, hidden) and the tokens that followed (n,) to log-probabilities and entropies (n,).

    Of y = log softmax(z)[token] and of the entropy H of softmax(z), the derivatives with respect to z are
    onehot - p and -p (log p + H). Both are propagated through the frozen LM head at once, while the logits exist, so
    the backward pass only scales them: no logits are kept, and none are computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any, base: SharedBase, temperature: float, states: torch.Tensor, targets: torch.Tensor, entropic: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        table, scores = base.lm_table, base.lm_head(states)
        logits, weights = _scratch(base, len(states), scores.shape[-1])
        logits.copy_(scores)
        if temperature != 1:
            logits.div_(temperature)
        torch.softmax(logits, -1, out=weights)
        total = (logits.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log()).squeeze(-1)
        chosen = logits.gather(-1, targets[:, None]).squeeze(-1)
        mean = logits.mul_(weights).sum(-1)
        if ctx.needs_input_grad[2]:
            slope = (table[targets].float() - (scores.copy_(weights) @ table).float()) / temperature
            ctx.save_for_backward(slope)
            if entropic:
                turn = scores.copy_(logits.addcmul_(weights, mean[:, None], value=-1)) @ table
                ctx.save_for_backward(slope, turn.float() / -temperature)
        ctx.dtype = states.dtype
        if not entropic:
            ctx.mark_non_differentiable(entropy := total - mean)
            return chosen - total, entropy
        return chosen - total, total - mean

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, torch.Tensor, None, None]:
        gradient = sum(slope * along[:, None] for slope, along in zip(ctx.saved_tensors, gradients, strict=False))
        return None, None, torch.as_tensor(gradient).to(ctx.dtype), None, None


def _scratch(base: SharedBase, rows: int, width: int) -> torch.Tensor:
    """The same fp32 buffer (2, rows, width) at every call: allocating one takes longer than using it."""
    size = 2 * rows * width
    if base.scratch is None or base.scratch.numel() < size or base.scratch.device != base.device:
        base.scratch = torch.empty(size, device=base.device)
    return base.scratch[:size].view(2, rows, width)


def response_mask(response_ids: Sequence[Ids]) -> torch.Tensor:
    """1.0 on the tokens of each response: (batch, longest response), fp32."""
    lengths = torch.tensor([len(response) for response in response_ids])
    return (torch.arange(int(lengths.max()))[None, :] < lengths[:, None]).float()
