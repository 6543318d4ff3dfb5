"""Attention of one decoding step, one new token per row: query heads that share a key head read it together."""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

STEP_ATTENTION = "rlhf_step"


def step_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    absent: Tensor,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token per row, with the signature that transformers expects.

    query: (n, heads, 1, d); key, value: (n, key heads, L, d), including the room that is not filled yet, since reading
    it costs less than cutting it off; absent: (n, 1, 1, L), the lowest number where no token is. Returns
    (n, 1, heads, d).
    """
    n, heads, _, d = query.shape
    grouped = query.view(n, key.shape[1], -1, d)
    scale = scaling if scaling is not None else d**-0.5
    scores = (key @ grouped.transpose(-1, -2)).transpose(-1, -2)  # this way around, oneDNN need not lay keys out anew
    weights = scores.float().mul_(scale).add_(absent).softmax(-1)
    return (weights.to(value.dtype) @ value).view(n, 1, heads, d), None


AttentionInterface.register(STEP_ATTENTION, step_attention)
