"""Labels as training sequences: a prompt once, with every response to it that was labelled.

Annotators say several things of the responses to one prompt. A response is then computed once, and all that was said of
it is learned from at once (Ouyang et al. 2022, section 3.5, who do so to keep it from being over-fitted).
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from datasets import Dataset
from torch import Tensor

from backbone.cpu.shared_prompts import Stream
from backbone.tokens import Renderer
from reward_model.labels.records import OVERALL, Label, Pair, Ranking

Rater = tuple[str, int, str]  # aspect, scale, annotator
_PAIR, _RANKING, _RATING = "pair", "ranking", "rating"
PADDING, PROMPT = -1, 0  # segments; responses are 1, 2, ...
Layout = Literal["stream", "rows", "apart"]


@dataclass(frozen=True)
class Scheme:
    """What stands for what in a batch: scores by aspect, the overall one first, and raters of a response."""

    aspects: tuple[str, ...]
    raters: tuple[Rater, ...]

    @classmethod
    def of(cls, labels: Sequence[Label]) -> "Scheme":
        """The aspects and raters that the labels name."""
        aspects = sorted({label.aspect for label in labels} - {OVERALL})
        ratings = [label for label in labels if not isinstance(label, Pair | Ranking)]
        return cls((OVERALL, *aspects), tuple(sorted({(r.aspect, r.scale, r.annotator) for r in ratings})))

    def encoded(self, label: Label, places: Sequence[int]) -> dict[str, Any]:
        """The label of the responses at these places of its sequence, as numbers."""
        kind, values = _RATING, [0.0]
        if isinstance(label, Pair):
            kind, values = _PAIR, [label.p_chosen, label.p_tie, label.margin]
        elif isinstance(label, Ranking):
            kind, values = _RANKING, [float(rank) for rank in label.ranks]
        else:
            rater = self.raters.index((label.aspect, label.scale, label.annotator))
            values = [float(label.score), float(rater)]
        head = self.aspects.index(label.aspect)
        return {"kind": kind, "of": list(places), "head": head, "weight": label.weight, "values": values}


@dataclass(frozen=True)
class PackedSet:
    """Sequences for `LabelCollator`, how many labels they hold, and how many labels lost part of their prompt."""

    dataset: Dataset
    labels: int
    cut: int


@dataclass
class _Sequence:
    prompt: list[int]
    responses: dict[str, list[int]] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)

    def extra(self, label: Label, ids: Mapping[str, list[int]]) -> int:
        return sum(len(ids[text]) for text in label.responses if text not in self.responses)

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.responses.values()))


def pack(labels: Sequence[Label], scheme: Scheme, renderer: Renderer, max_length: int) -> PackedSet:
    """Labels as sequences: prompt, then responses, up to `2 * max_length` tokens (more where one label needs them).

    Where prompt and longest response exceed `max_length` tokens, the oldest part of the prompt is cut, by the same
    amount for all responses of the sequence. Weights are scaled: a sequence's labels weigh 1 together, on average.
    """
    unbounded = replace(renderer, max_length=sys.maxsize)
    ids = {
        text: renderer.completed(renderer.response_ids(text))
        for text in dict.fromkeys(text for label in labels for text in label.responses)
    }
    latest: dict[str, _Sequence] = {}
    sequences: list[_Sequence] = []
    for label in labels:
        key = label.prompt_key
        room = 2 * max_length - (len(latest[key]) + latest[key].extra(label, ids) if key in latest else sys.maxsize)
        if room < 0:
            prompt = latest[key].prompt if key in latest else unbounded.prompt_ids(label.prompt)
            latest[key] = _Sequence(prompt)
            sequences.append(latest[key])
        latest[key].responses |= {text: ids[text] for text in label.responses}
        latest[key].labels.append(label)
    per_label = len(sequences) / math.fsum(label.weight for label in labels)
    rows, cut = [], 0
    for sequence in sequences:
        longest = max(sequence.responses.values(), key=len)
        prompt, _, was_cut = renderer.fit(sequence.prompt, longest, max_length)
        responses = [renderer.fit(prompt, response, max_length)[1] for response in sequence.responses.values()]
        place = {text: number for number, text in enumerate(sequence.responses)}
        cut += was_cut * len(sequence.labels)
        rows.append(
            {
                "prompt_ids": prompt,
                "response_ids": responses,
                "labels": [
                    scheme.encoded(replace(label, weight=label.weight * per_label), [place[t] for t in label.responses])
                    for label in sequence.labels
                ],
                "length": len(prompt) + sum(map(len, responses)),
                "chosen_ids": [],  # TRL takes a data set that has these two columns as it is
                "rejected_ids": [],
            }
        )
    return PackedSet(Dataset.from_list(rows), len(labels), cut)


@dataclass(frozen=True)
class LabelCollator:
    """Sequences of `pack` to one batch.

    `input_ids` (rows, length); `last` (responses, 2): row and place of each response's last token; `group`
    (responses,): of which sequence it is; `log_length` (responses,): of its tokens. By `layout`, all lie in one row,
    the `stream` (`backbone/packed.py`); or each sequence has a row, with `position_ids` and `segments` (rows, length);
    or, apart, each response has one with its prompt. Rows are padded on the right: `attention_mask` (rows, length).
    Then what was said: `pairs` (n, 2), places among the responses, with `pair_values` (n, 3), p_chosen, p_tie, margin;
    `rankings` and `ranks` (n, k); `rated`, `ratings`, `raters` (n,); each kind with `KIND_weights`, `KIND_heads` (n,).
    """

    pad_id: int
    layout: Layout = "rows"

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Build the batch."""
        responses = [(number, ids) for number, example in enumerate(examples) for ids in example["response_ids"]]
        lay_out = {"stream": _streamed, "rows": self._rows, "apart": self._apart}[self.layout]
        return {
            **lay_out(examples),
            "group": torch.tensor([number for number, _ in responses]),
            "log_length": torch.tensor([math.log(len(ids)) for _, ids in responses]),
            **_said(examples),
        }

    def _rows(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
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
            **self._padded_ids(ids),
            "position_ids": _padded(positions, 0),
            "segments": _padded(segments, PADDING),
            "last": torch.tensor(last),
        }

    def _apart(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        ids = [[*example["prompt_ids"], *response] for example in examples for response in example["response_ids"]]
        return {**self._padded_ids(ids), "last": torch.tensor([(row, len(each) - 1) for row, each in enumerate(ids)])}

    def _padded_ids(self, ids: Sequence[list[int]]) -> dict[str, Tensor]:
        return {"input_ids": _padded(ids, self.pad_id), "attention_mask": _padded([[1] * len(row) for row in ids], 0)}


def _streamed(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    both = [(example["prompt_ids"], response) for example in examples for response in example["response_ids"]]
    stream = Stream.of([prompt for prompt, _ in both], [response for _, response in both])
    last = torch.tensor([[0, places[-1]] for places in stream.places])
    return {"input_ids": stream.input_ids, "stream": stream, "last": last}


def _said(examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    kinds: dict[str, list[dict[str, Any]]] = {_PAIR: [], _RANKING: [], _RATING: []}
    first = 0
    for example in examples:
        for label in example["labels"]:
            kinds[label["kind"]].append({**label, "of": [first + place for place in label["of"]]})
        first += len(example["response_ids"])
    batch: dict[str, Tensor] = {}
    for kind, labels in kinds.items():
        if labels:
            batch[f"{kind}_weights"] = torch.tensor([label["weight"] for label in labels])
            batch[f"{kind}_heads"] = torch.tensor([label["head"] for label in labels])
    if pairs := kinds[_PAIR]:
        batch["pairs"] = torch.tensor([label["of"] for label in pairs])
        batch["pair_values"] = torch.tensor([label["values"] for label in pairs])
    if rankings := kinds[_RANKING]:
        batch["rankings"] = _padded([label["of"] for label in rankings], 0)
        batch["ranks"] = _padded([[int(rank) for rank in label["values"]] for label in rankings], 0)
    if ratings := kinds[_RATING]:
        batch["rated"] = torch.tensor([label["of"][0] for label in ratings])
        batch["ratings"] = torch.tensor([int(label["values"][0]) for label in ratings])
        batch["raters"] = torch.tensor([int(label["values"][1]) for label in ratings])
    return batch


def _padded(values: Sequence[list[int]], filler: int) -> Tensor:
    length = max(map(len, values))
    return torch.tensor([row + [filler] * (length - len(row)) for row in values])
