"""Score both responses of a pair in one sequence, so that their prompt is computed once.

A pair becomes prompt + chosen + rejected. An attention mask hides each response from the other, and
both continue at the position where the prompt ends, so that every token sees exactly what it would
see in a sequence of its own. In a conversation most tokens belong to the prompt: on human dialogue
data this saves more than a third of the work. It holds for models in which tokens meet in attention
only; `agrees` measures whether a model is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_PROMPT, _CHOSEN, _REJECTED, _PADDING = range(4)


@dataclass(frozen=True)
class SharedPromptCollator:
    """Pairs (`chosen_ids`, `rejected_ids`, `prompt_length`, `margin`?) to one padded batch.

    Gives `input_ids`, `attention_mask`, `position_ids` and `segments` (pairs, length), `ends` (pairs, 2): where
    the last token of either response lies, and `margin` (pairs,).
    """

    pad_id: int

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Build the batch, padded on the right."""
        rows = [self._row(example) for example in examples]
        length = max(len(ids) for ids, *_ in rows)

        def padded(values: Sequence[list[int]], filler: int) -> Tensor:
            return torch.tensor([row + [filler] * (length - len(row)) for row in values])

        batch = {
            "input_ids": padded([row[0] for row in rows], self.pad_id),
            "attention_mask": padded([[1] * len(row[0]) for row in rows], 0),
            "position_ids": padded([row[1] for row in rows], 0),
            "segments": padded([row[2] for row in rows], _PADDING),
            "ends": torch.tensor([row[3] for row in rows]),
        }
        if "margin" in examples[0]:
            batch["margin"] = torch.tensor([example["margin"] for example in examples], dtype=torch.float32)
        return batch

    @staticmethod
    def _row(example: dict[str, Any]) -> tuple[list[int], list[int], list[int], list[int]]:
        start = example["prompt_length"]
        chosen, rejected = example["chosen_ids"], example["rejected_ids"][start:]
        positions = [*range(len(chosen)), *range(start, start + len(rejected))]
        segments = [_PROMPT] * start + [_CHOSEN] * (len(chosen) - start) + [_REJECTED] * len(rejected)
        return [*chosen, *rejected], positions, segments, [len(chosen) - 1, len(chosen) + len(rejected) - 1]


@dataclass(frozen=True)
class Scores:
    """What `RewardTrainer.compute_loss` reads of a model's output: all chosen, then all rejected, (2 × pairs, 1)."""

    logits: Tensor


def score_pairs(model: nn.Module, head: nn.Linear, batch: dict[str, Tensor]) -> Scores:
    """Scores under a sequence-classification `model` with this score `head`, in float32 also under autocast."""
    states = pair_states(model, head, batch)
    with torch.autocast(states.device.type, enabled=False):
        scores = nn.functional.linear(states.float(), head.weight.float()).squeeze(-1)  # (pairs, 2)
    return Scores(scores.T.reshape(-1, 1))


def pair_states(model: nn.Module, head: nn.Linear, batch: dict[str, Tensor]) -> Tensor:
    """Final hidden states of the last tokens of chosen and rejected: (pairs, 2, hidden).

    The model itself picks one token a row and two are needed, so the states are read off what enters the head.
    """
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        model(
            input_ids=batch["input_ids"],
            attention_mask=visible(batch["segments"]),
            position_ids=batch["position_ids"],
            use_cache=False,
        )
    finally:
        hook.remove()
    row = torch.arange(len(batch["ends"]), device=seen[0].device)[:, None]
    return seen[0][row, batch["ends"]]


def visible(segments: Tensor) -> Tensor:
    """Which token sees which, (pairs, 1, length, length): earlier ones of its own segment and of the prompt."""
    query, key = segments[:, :, None], segments[:, None, :]
    length = segments.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return (((query == key) | (key == _PROMPT)) & earlier)[:, None]


@torch.no_grad()
def agrees(model: nn.Module, head: nn.Linear, pad_id: int, example: dict[str, Any], tolerance: float = 0.05) -> bool:
    """Whether one sequence for a pair gives the same last hidden states as two, on this `example`.

    The states are compared before the head, which may still be zero; `tolerance` is the largest difference
    allowed relative to their norm, and leaves room for bfloat16.
    """
    device = head.weight.device
    batch = {name: value.to(device) for name, value in SharedPromptCollator(pad_id)([example]).items()}
    seen: list[Tensor] = []
    hook = None
    try:
        together = pair_states(model, head, batch)[0]
        hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0, -1]))
        for side in ("chosen_ids", "rejected_ids"):
            model(input_ids=torch.tensor([example[side]], device=device), use_cache=False)
    except (TypeError, ValueError, RuntimeError):  # the model takes no such mask
        return False
    finally:
        if hook is not None:
            hook.remove()
    apart = torch.stack(seen)
    return bool(((together - apart).float().norm(dim=-1) <= tolerance * apart.float().norm(dim=-1)).all())
