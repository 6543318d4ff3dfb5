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
from torch import Tensor

from backbone.adapters import SharedBase
from backbone.cpu.shared_prompts import LONGEST, Stream

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


def last_states_of(base: SharedBase, batch: dict[str, Any]) -> Tensor:
    """Final hidden states of each response's last token, which the score head reads: (responses, hidden)."""
    ids = batch["input_ids"]
    if "stream" in batch:
        where = {"stream": batch["stream"], "position_ids": batch["stream"].positions}
    elif "segments" in batch:
        where = {"attention_mask": visible(batch["segments"]), "position_ids": batch["position_ids"]}
    else:
        where = {}
    if where:
        states: Tensor = base.decoder(input_ids=ids, **where, use_cache=False).last_hidden_state
    else:
        states = base.hidden_states(ids, batch["attention_mask"])
    row, place = batch["last"].unbind(1)
    return states[row, place]


def visible(segments: Tensor) -> Tensor:
    """Which token sees which, (rows, 1, length, length): earlier ones of its own segment and of the prompt."""
    query, key = segments[:, :, None], segments[:, None, :]
    length = segments.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return (((query == key) | (key == PROMPT)) & earlier)[:, None]


def best_layout(base: SharedBase, example: dict[str, Any], max_length: int) -> Layout:
    """How batches are best laid out for this model; `example` is one of its longest sequences.

    The layout "stream" has no padding; attention must then be that of `backbone/cpu/shared_prompt_attention.py`.
    """
    if base.device.type == "cpu" and max_length <= LONGEST and base.paths.scoring == "stream":
        return "stream"
    return "rows" if rows_agree(base, example) else "apart"


@torch.no_grad()
def rows_agree(base: SharedBase, example: dict[str, Any]) -> bool:
    """Whether one sequence for all responses gives the last hidden states of one for each, on this `example`.

    They may differ by what rounding explains, relative to their norm.
    """
    found = []
    try:
        layouts: tuple[Layout, Layout] = ("rows", "apart")
        for layout in layouts:
            batch = lay_out([example], layout, base.renderer.pad_id)
            batch = {name: value.to(base.device) for name, value in batch.items()}
            found.append(last_states_of(base, batch).float())
    except (TypeError, ValueError, RuntimeError, IndexError):  # the model takes no such mask
        return False
    together, apart = found
    tolerance = 1e-3 if base.base.dtype == torch.float32 and not base.quantization else 0.05
    return bool(((together - apart).norm(dim=-1) <= tolerance * apart.norm(dim=-1)).all())
