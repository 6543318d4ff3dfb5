"""Log-probabilities of given responses, without ever holding the full logits.

Only positions that predict a response token go through the LM head, a chunk at a time; the backward
pass recomputes a chunk's logits instead of keeping them. Memory is chunk x vocabulary, not batch x length x vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from rlhf_pipeline.backbone.adapters import SharedBase
from rlhf_pipeline.backbone.tokens import Ids, pad_right

CHUNK = 512


class TokenLogprobs(NamedTuple):
    """Each (batch, longest response), fp32, zero where `mask` is 0.

    `logprobs` in nats, `entropy` of the whole next-token distribution in nats, `mask` 1.0 on response tokens.
    """

    logprobs: torch.Tensor
    entropy: torch.Tensor
    mask: torch.Tensor


def response_logprobs(
    base: SharedBase,
    prompt_ids: Sequence[Ids],
    response_ids: Sequence[Ids],
    temperature: float = 1.0,
    chunk: int = CHUNK,
) -> TokenLogprobs:
    """Return log pi(token | prompt, tokens before it) for every response token, under the base's active adapter.

    `temperature` divides the logits, as it did while sampling. Differentiable where gradients are enabled.
    """
    sequences = [[*prompt, *response] for prompt, response in zip(prompt_ids, response_ids, strict=True)]
    input_ids, attention_mask = pad_right(sequences, base.renderer.pad_id)
    mask = response_mask(response_ids)
    rows, columns = mask.nonzero(as_tuple=True)
    before = torch.tensor([len(prompt) - 1 for prompt in prompt_ids])[rows] + columns
    targets = input_ids[rows, before + 1].to(base.device)
    states = base.hidden_states(input_ids.to(base.device), attention_mask.to(base.device))
    states = states[rows.to(base.device), before.to(base.device)]

    parts = [
        _Head.apply(base, temperature, states[start : start + chunk], targets[start : start + chunk])  # type: ignore[no-untyped-call]
        for start in range(0, len(targets), chunk)
    ]
    logprobs, entropies = (torch.cat(column) for column in zip(*parts, strict=True))
    index = (rows.to(base.device), columns.to(base.device))
    zeros = torch.zeros(mask.shape, device=base.device)
    return TokenLogprobs(zeros.index_put(index, logprobs), zeros.index_put(index, entropies), mask.to(base.device))


class _Head(torch.autograd.Function):
    """Hidden states (n, hidden) and the tokens that followed (n,) to log-probabilities and entropies (n,).

    Keeps no logits: the backward pass computes them again, and of log softmax(z)[y] knows that the derivative is
    onehot(y) - softmax(z). The LM head itself is frozen and gets no gradient; nor does the entropy.
    """

    @staticmethod
    def forward(
        ctx: Any, base: SharedBase, temperature: float, states: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = base.lm_head(states).float().div_(temperature)
        total = torch.logsumexp(logits, dim=-1)
        logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - total
        entropies = total - (torch.exp(logits - total[:, None]).mul_(logits)).sum(-1)
        ctx.base, ctx.temperature = base, temperature
        ctx.save_for_backward(states, targets, total)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[None, None, torch.Tensor, None]:
        states, targets, total = ctx.saved_tensors
        with torch.enable_grad():
            states = states.detach().requires_grad_()
            logits = ctx.base.lm_head(states)
        scale = gradient[:, None] / ctx.temperature
        slope = logits.detach().float().div_(ctx.temperature).sub_(total[:, None]).exp_().mul_(-scale)
        slope.scatter_add_(-1, targets[:, None], scale)
        return None, None, torch.autograd.grad(logits, states, slope.to(logits.dtype))[0], None


def response_mask(response_ids: Sequence[Ids]) -> torch.Tensor:
    """1.0 on the tokens of each response: (batch, longest response), fp32."""
    lengths = torch.tensor([len(response) for response in response_ids])
    return (torch.arange(int(lengths.max()))[None, :] < lengths[:, None]).float()
