"""Training sequences to a batch: their tokens, laid out as `batch_layouts.py` does it, and their labels as tensors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reward_model.labels.encoding import PAIR, RANKING, RATING
from reward_model.training.batch_layouts import Layout, lay_out, padded
from reward_model.training.processes import Processes


@dataclass(frozen=True)
class LabelCollator:
    """Batches of sequences.

    `input_ids` (rows, length) and how they are laid out: see `batch_layouts.lay_out`. `group` (responses,): of which
    sequence a response is; `log_length` (responses,): of its tokens. Then the labels: `pairs` (n, 2), places among the
    responses, with `pair_values` (n, 3), p_chosen, p_tie, margin; `rankings` and `ranks` (n, k); `rated`, `ratings`,
    `raters` (n,); each kind with `KIND_weights`, `KIND_heads` (n,). `mine` (sequences of the whole batch,): which of
    them are here, where several processes share it; none if the one that is here counts for nothing.
    """

    pad_id: int
    layout: Layout = "rows"
    processes: Processes = field(default_factory=Processes)

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Build the batch."""
        mine = self.processes.share(examples)
        whole, examples = len(examples), [examples[place] for place in mine or [0]]
        responses = [(number, ids) for number, example in enumerate(examples) for ids in example["response_ids"]]
        return {
            "mine": torch.zeros(whole, dtype=torch.bool).index_fill(0, torch.tensor(mine, dtype=torch.long), True),
            **lay_out(examples, self.layout, self.pad_id),
            "group": torch.tensor([number for number, _ in responses]),
            "log_length": torch.tensor([math.log(len(ids)) for _, ids in responses]),
            **_labels(examples),
        }


def _labels(examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    kinds: dict[str, list[dict[str, Any]]] = {PAIR: [], RANKING: [], RATING: []}
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
    if pairs := kinds[PAIR]:
        batch["pairs"] = torch.tensor([label["of"] for label in pairs])
        batch["pair_values"] = torch.tensor([label["values"] for label in pairs])
    if rankings := kinds[RANKING]:
        batch["rankings"] = padded([label["of"] for label in rankings], 0)
        batch["ranks"] = padded([[int(rank) for rank in label["values"]] for label in rankings], 0)
    if ratings := kinds[RATING]:
        batch["rated"] = torch.tensor([label["of"][0] for label in ratings])
        batch["ratings"] = torch.tensor([int(label["values"][0]) for label in ratings])
        batch["raters"] = torch.tensor([int(label["values"][1]) for label in ratings])
    return batch
