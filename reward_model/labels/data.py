"""Labels as training data: files of them, the split by prompt, what they say of two responses, token ids.

How a row is read is `rows.py`'s business, and how text becomes token ids the renderer's (`backbone.tokens`). How the
trainer takes labels of every kind in is in `packing.py`.
"""

import hashlib
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from datasets import Dataset

from backbone.tokens import Renderer
from foundation.errors import UserError
from foundation.files import read_jsonl
from reward_model.labels.records import Label, Message, Ranking, Rating, is_hh
from reward_model.labels.records import Pair as Pair
from reward_model.labels.records import Row as Row
from reward_model.labels.records import to_labels as to_labels
from reward_model.labels.records import to_pair as to_pair
from reward_model.labels.records import to_pairs as to_pairs


@dataclass(frozen=True, slots=True)
class PairSet:
    """Token ids ready for TRL's `RewardTrainer`, and how many pairs lost the oldest part of their prompt."""

    dataset: Dataset
    cut: int


def read_pairs(path: Path) -> tuple[list[dict[str, Any]], list[tuple[int, str]]]:
    """Read a file of preferences in TRL's format or as hh text; returns `(rows, left out)`.

    Anything malformed is a `UserError` with its line. In hh text, lines that are well formed but do not
    compare two different replies to one conversation are left out, each as `(line, reason)`: the published
    data holds a few of them.
    """
    rows: list[dict[str, Any]] = []
    left_out: list[tuple[int, str]] = []
    for number, row in read_jsonl(path):
        try:
            rows.append({**row, **to_pair(row, f"{path}, line {number}").row()})
        except UserError as error:
            if not is_hh(row):
                raise
            left_out.append((number, str(error).removeprefix(f"{path}, line {number}: ")))
    if not rows:
        raise UserError(f"{path}: holds no pairs to compare. Give a file with at least one preference a line.")
    return rows, left_out


def split_by_prompt(rows: Sequence[Row], held_out: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split rows into `(train, held out)` so that a prompt is never in both; `held_out` is a share of the prompts."""
    keys = [label.prompt_key for label in to_labels(rows)]
    chosen = held_out_prompts(keys, held_out, seed)
    train = [row for row, key in zip(rows, keys, strict=True) if key not in chosen]
    return train, [row for row, key in zip(rows, keys, strict=True) if key in chosen]


def held_out_prompts(keys: Sequence[str], held_out: float, seed: int) -> set[str]:
    """Which prompts are held out: those whose hash with the seed, as a number in [0, 1), is below `held_out`.

    Each prompt is decided for itself, so that more labels never move one to the other side. Where that
    would leave a side empty, the prompt nearest to the line crosses it.
    """
    places = {key: int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest(), 16) / 2**256 for key in keys}
    if len(places) < 2:
        raise UserError(
            f"there are preferences for only {len(places)} different prompts, so none can be held out to "
            "measure the reward model on. Label more prompts (`rlhf label`, `rlhf import`)."
        )
    ranked = sorted(places, key=lambda key: places[key])
    count = sum(place < held_out for place in places.values())
    return set(ranked[: min(max(count, 1), len(ranked) - 1)])


def check_disjoint(train: Sequence[Row], held_out: Sequence[Row]) -> None:
    """Raise `UserError` where a prompt is in both splits: accuracy held out would then mean nothing."""
    seen = {label.prompt_key for label in to_labels(train)}
    shared = {label.prompt_key: label for label in to_labels(held_out) if label.prompt_key in seen}
    if shared:
        text = next(iter(shared.values())).prompt[-1]["content"]
        raise UserError(
            f"{len(shared)} prompts are in both the training and the held-out split, among them {text[:80]!r}. "
            "Move all rows of a prompt to one side."
        )


def to_dataset(rows: Sequence[Row], renderer: Renderer, max_length: int, margin: bool = True) -> PairSet:
    """Rows as `chosen_ids`, `rejected_ids` and, with `margin` and where any is known, `margin`: what TRL takes as is.

    `prompt_length` (tokens that both sides open with) and `length` (tokens to compute) are added for batching.
    Where prompt and longer response exceed `max_length` tokens, the oldest part of the prompt is cut, by the
    same amount on both sides; `PairSet.cut` says how often.
    """
    unbounded = replace(renderer, max_length=sys.maxsize)
    columns: dict[str, list[Any]] = {name: [] for name in ("chosen_ids", "rejected_ids", "prompt_length", "length")}
    margins: list[float] = []
    cut = 0
    for pair in to_pairs(rows):
        prompt = unbounded.prompt_ids(pair.prompt)
        chosen, rejected = (renderer.completed(renderer.response_ids(text)) for text in (pair.chosen, pair.rejected))
        longest = max(chosen, rejected, key=len)
        prompt, _, was_cut = renderer.fit(prompt, longest, max_length)
        chosen, rejected = (renderer.fit(prompt, response, max_length)[1] for response in (chosen, rejected))
        cut += was_cut
        columns["chosen_ids"].append([*prompt, *chosen])
        columns["rejected_ids"].append([*prompt, *rejected])
        columns["prompt_length"].append(len(prompt))
        columns["length"].append(len(prompt) + len(chosen) + len(rejected))
        margins.append(pair.margin)
    if margin and any(margins):
        columns["margin"] = margins
    return PairSet(Dataset.from_dict(columns), cut)


def comparisons(labels: Sequence[Label]) -> list[Pair]:
    """Which of two responses to one prompt the labels prefer, over all aspects: the pairs to measure a reward model on.

    A ranking gives every two responses in different places, sharing its weight; ratings every two responses whose mean
    differs, each rating counted on a scale of 0 to 1, less its annotator's mean. Ties give none.
    """
    pairs = []
    for label in labels:
        if isinstance(label, Pair):
            if label.p_chosen > 0.5:
                pairs.append(label)
            elif label.p_chosen < 0.5:
                pairs.append(_swapped(label))
        elif isinstance(label, Ranking):
            places = sorted(zip(label.ranks, label.responses, strict=True), key=lambda place: place[0])
            weight = label.weight / math.comb(len(places), 2)
            pairs += [
                Pair(label.prompt, better, worse, weight=weight, aspect=label.aspect)
                for (rank, better), (below, worse) in combinations(places, 2)
                if rank < below
            ]
    return pairs + _rated_pairs([label for label in labels if isinstance(label, Rating)])


def _swapped(pair: Pair) -> Pair:
    """The same said of the two in the other order."""
    return replace(
        pair, chosen=pair.rejected, rejected=pair.chosen, margin=-pair.margin, p_chosen=1 - pair.p_chosen
    )  # fmt: skip


def _rated_pairs(ratings: Sequence[Rating]) -> list[Pair]:
    given: dict[str, list[float]] = defaultdict(list)
    for rating in ratings:
        given[rating.annotator].append(_on_unit_scale(rating))
    usual = {annotator: math.fsum(values) / len(values) for annotator, values in given.items()}
    found: dict[tuple[Message, ...] | str, dict[str, list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    prompts = {}
    for rating in ratings:
        prompts[rating.prompt_key] = rating.prompt
        value = _on_unit_scale(rating) - usual[rating.annotator]
        found[rating.prompt_key][rating.response].append((rating.weight, value))
    pairs = []
    for key, responses in found.items():
        means = {
            text: math.fsum(w * value for w, value in values) / (math.fsum(w for w, _ in values) or 1.0)
            for text, values in responses.items()
        }
        for one, other in combinations(means, 2):
            if abs(means[one] - means[other]) > 1e-9:
                better, worse = (one, other) if means[one] > means[other] else (other, one)
                pairs.append(Pair(prompts[str(key)], better, worse))
    return pairs


def _on_unit_scale(rating: Rating) -> float:
    return (rating.score - 1) / (rating.scale - 1)
