"""Score all responses to a prompt in one sequence, so that the prompt is computed once.

A sequence is a prompt and its responses, one after the other. Each response is hidden from the others, and all continue
at the position where the prompt ends, so that every token sees exactly what it would see in a sequence of its own. In a
conversation most tokens belong to the prompt: on human dialogue data this saves more than a third of the work. It holds
for models in which tokens meet in attention only; `best_layout` measures whether a model is one of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from backbone.adapters import SharedBase
from backbone.cpu.shared_prompts import LONGEST, swappable
from reward_model.training.sequences import PROMPT, LabelCollator, Layout


def last_states(model: nn.Module, head: nn.Linear, batch: dict[str, Any]) -> Tensor:
    """Final hidden states of each response's last token under a sequence-classification `model`: (responses, hidden).

    The model itself picks one token a row and several are needed, so the states are read off what enters its `head`.
    """
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    if "stream" in batch:
        where = {"stream": batch["stream"], "position_ids": batch["stream"].positions}
    elif "segments" in batch:
        where = {"attention_mask": visible(batch["segments"]), "position_ids": batch["position_ids"]}
    else:
        where = {"attention_mask": batch["attention_mask"]}
    try:
        model(input_ids=batch["input_ids"], **where, use_cache=False)
    finally:
        hook.remove()
    row, place = batch["last"].unbind(1)
    return seen[0][row, place]


def visible(segments: Tensor) -> Tensor:
    """Which token sees which, (rows, 1, length, length): earlier ones of its own segment and of the prompt."""
    query, key = segments[:, :, None], segments[:, None, :]
    length = segments.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return (((query == key) | (key == PROMPT)) & earlier)[:, None]


def best_layout(base: SharedBase, head: nn.Linear, example: dict[str, Any], max_length: int) -> Layout:
    """How batches are best laid out for this model, whose longest sequence is `example`.

    One stream has no padding; the model has to compute attention by `backbone/packed.py` then.
    """
    if base.device.type == "cpu" and max_length <= LONGEST and swappable(base):
        return "stream"
    return "rows" if agrees(base.base, head, base.renderer.pad_id, example) else "apart"


@torch.no_grad()
def agrees(model: nn.Module, head: nn.Linear, pad_id: int, example: dict[str, Any], tolerance: float = 0.05) -> bool:
    """Whether one sequence for all responses gives the last hidden states of one for each, on this `example` of `pack`.

    The states are compared before the head, which may still be zero; `tolerance` is the largest difference
    allowed relative to their norm, and leaves room for bfloat16.
    """
    device = head.weight.device
    found = []
    try:
        layouts: tuple[Layout, Layout] = ("rows", "apart")
        for layout in layouts:
            batch = LabelCollator(pad_id, layout)([example])
            found.append(last_states(model, head, {name: value.to(device) for name, value in batch.items()}).float())
    except (TypeError, ValueError, RuntimeError):  # the model takes no such mask
        return False
    together, apart = found
    return bool(((together - apart).norm(dim=-1) <= tolerance * apart.norm(dim=-1)).all())
