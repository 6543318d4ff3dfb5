"""Log-probabilities of given responses, without ever holding the full logits.

Only positions that predict a response token go through the LM head, a chunk at a time; the backward
pass recomputes a chunk's logits instead of keeping them. Memory is chunk x vocabulary, not batch x length x vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

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

    def head(part: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logps = torch.log_softmax(base.lm_head(part).float() / temperature, dim=-1)
        with torch.no_grad():
            entropy = -(logps.exp() * logps).sum(-1)
        return logps.gather(-1, wanted[:, None]).squeeze(-1), entropy

    logprobs, entropies = [], []
    for start in range(0, len(targets), chunk):
        part, wanted = states[start : start + chunk], targets[start : start + chunk]
        if torch.is_grad_enabled():
            logp, entropy = checkpoint(head, part, wanted, use_reentrant=False)
        else:
            logp, entropy = head(part, wanted)
        logprobs.append(logp)
        entropies.append(entropy)
    index = (rows.to(base.device), columns.to(base.device))
    zeros = torch.zeros(mask.shape, device=base.device)
    return TokenLogprobs(
        zeros.index_put(index, torch.cat(logprobs)), zeros.index_put(index, torch.cat(entropies)), mask.to(base.device)
    )


def response_mask(response_ids: Sequence[Ids]) -> torch.Tensor:
    """1.0 on the tokens of each response: (batch, longest response), fp32."""
    lengths = torch.tensor([len(response) for response in response_ids])
    return (torch.arange(int(lengths.max()))[None, :] < lengths[:, None]).float()
