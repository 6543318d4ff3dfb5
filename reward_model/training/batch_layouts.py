"""How the tokens of a batch are laid out for the model, so that a prompt is computed once for all its responses.

Three layouts give the same scores: "stream", all sequences in one row without padding, which is laid out by
`backbone/cpu/shared_prompts.py`; "rows", a row for each sequence of `sequences.py`, its prompt and then its responses;
"apart", a row for each response with its prompt. In the first two, a response is hidden from the others and continues
at the position where the prompt ends, so that every token sees what it would see in a row of its own. In a conversation
most tokens belong to the prompt: on human dialogue data this saves more than a third of the work. It holds for models
in which tokens meet in attention only; `best_layout` measures whether a model is one of them.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from backbone.adapters import SharedBase
from backbone.cpu.shared_prompts import LONGEST, Stream
from backbone.hidden_states import cpu_attention_fits

Layout = Literal["stream", "rows", "apart"]

PADDING, PROMPT = -1, 0  # segments; responses are 1, 2, ...


def lay_out(examples: Sequence[dict[str, Any]], layout: Layout, pad_id: int) -> dict[str, Any]:
    """`input_ids` (rows, length); `last` (responses, 2): row and place of each response's last token.

    With "stream", the `stream` as well; with "rows", `position_ids` and `segments` (rows, length); rows are padded on
    the right: `attention_mask` (rows, length).
    """
    if layout == "stream":
        return _in_a_stream(examples)
    return _in_rows(examples, pad_id) if layout == "rows" else _apart(examples, pad_id)


def _in_a_stream(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    both = [(example["prompt_ids"], response) for example in examples for response in example["response_ids"]]
    stream = Stream.of([prompt for prompt, _ in both], [response for _, response in both])
    last = torch.tensor([[0, places[-1]] for places in stream.places])
    return {"input_ids": stream.input_ids, "stream": stream, "last": last}


def _in_rows(examples: Sequence[dict[str, Any]], pad_id: int) -> dict[str, Tensor]:
    ids, positions, segments, last = [], [], [], []
    for row, example in enumerate(examples):
        start = len(example["prompt_ids"])
        ids.append(list(example["prompt_ids"]))
        positions.append([*range(start)])
        segments.append([PROMPT] * start)
        for number, response in enumerate(example["response_ids"], start=1):
            ids[-1] += response
            positions[-1] += range(start, start + len(response))
            segments[-1] += [number] * len(response)
            last.append((row, len(ids[-1]) - 1))
    return {
        **_padded_ids(ids, pad_id),
        "position_ids": padded(positions, 0),
        "segments": padded(segments, PADDING),
        "last": torch.tensor(last),
    }


def _apart(examples: Sequence[dict[str, Any]], pad_id: int) -> dict[str, Tensor]:
    ids = [[*example["prompt_ids"], *response] for example in examples for response in example["response_ids"]]
    return {**_padded_ids(ids, pad_id), "last": torch.tensor([(row, len(each) - 1) for row, each in enumerate(ids)])}


def _padded_ids(ids: Sequence[list[int]], pad_id: int) -> dict[str, Tensor]:
    return {"input_ids": padded(ids, pad_id), "attention_mask": padded([[1] * len(row) for row in ids], 0)}


def padded(values: Sequence[list[int]], filler: int) -> Tensor:
    """Rows of different length as one tensor, filled up on the right."""
    length = max(map(len, values))
    return torch.tensor([row + [filler] * (length - len(row)) for row in values])


def head_inputs(model: nn.Module, head: nn.Linear, batch: dict[str, Any]) -> Tensor:
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

    The layout "stream" has no padding; attention must then be that of `backbone/cpu/shared_prompt_attention.py`.
    """
    if base.device.type == "cpu" and max_length <= LONGEST and cpu_attention_fits(base):
        return "stream"
    return "rows" if rows_agree(base.base, head, base.renderer.pad_id, example) else "apart"


@torch.no_grad()
def rows_agree(
    model: nn.Module, head: nn.Linear, pad_id: int, example: dict[str, Any], tolerance: float = 0.05
) -> bool:
    """Whether one sequence for all responses gives the last hidden states of one for each, on this `example`.

    The states are compared before the head, which may still be zero; `tolerance` is the largest difference
    allowed relative to their norm, and leaves room for bfloat16.
    """
    device = head.weight.device
    found = []
    try:
        layouts: tuple[Layout, Layout] = ("rows", "apart")
        for layout in layouts:
            batch = lay_out([example], layout, pad_id)
            found.append(head_inputs(model, head, {name: value.to(device) for name, value in batch.items()}).float())
    except (TypeError, ValueError, RuntimeError):  # the model takes no such mask
        return False
    together, apart = found
    return bool(((together - apart).norm(dim=-1) <= tolerance * apart.norm(dim=-1)).all())
