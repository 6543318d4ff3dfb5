"""Labels as training sequences: a prompt once, with every response to it that was labelled.

Annotators say several things of the responses to one prompt. A response is then computed once, and all that was said of
it is learned from at once (Ouyang et al. 2022, section 3.5, who do so to keep it from being over-fitted). Sequences
become batches in `collator.py`.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from datasets import Dataset

from backbone.tokens import Renderer
from reward_model.labels.encoding import LabelEncoding
from reward_model.labels.records import Label


@dataclass(frozen=True)
class SequenceSet:
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


def to_sequences(labels: Sequence[Label], encoding: LabelEncoding, renderer: Renderer, max_length: int) -> SequenceSet:
    """Labels as sequences: prompt, then responses, up to `2 * max_length` tokens (more if one label needs them).

    If prompt and longest response exceed `max_length` tokens, the oldest part of the prompt is cut, by the same
    amount for all responses of the sequence. Weights are scaled: a sequence's labels weigh 1 together, on average.
    """
    unbounded = renderer.unbounded
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
        prompt, responses, was_cut = renderer.fit_all(sequence.prompt, [*sequence.responses.values()], max_length)
        place = {text: number for number, text in enumerate(sequence.responses)}
        cut += was_cut * len(sequence.labels)
        rows.append(
            {
                "prompt_ids": prompt,
                "response_ids": responses,
                "labels": [
                    encoding.encoded(
                        replace(label, weight=label.weight * per_label), [place[t] for t in label.responses]
                    )
                    for label in sequence.labels
                ],
                "length": len(prompt) + sum(map(len, responses)),
                "chosen_ids": [],  # TRL takes a data set that has these two columns as it is
                "rejected_ids": [],
            }
        )
    return SequenceSet(Dataset.from_list(rows), len(labels), cut)
