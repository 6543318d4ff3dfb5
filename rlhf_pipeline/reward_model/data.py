"""Preferences to training pairs, and the split by prompt.

A row is one line of `preferences.jsonl` or of any preference data set in TRL's formats: `prompt`
(messages or a string; optional, then it is the part that both sides share), `chosen`, `rejected`
and perhaps `margin`. How text becomes token ids is the renderer's business (`backbone.tokens`);
where labels come from and how several annotators become one row is not known here.
"""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from pathlib import Path
from typing import Any

from datasets import Dataset

from rlhf_pipeline.backbone.tokens import Renderer
from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import content_id, read_jsonl

Row = Mapping[str, Any]
Message = dict[str, str]

_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):(?: |(?=\n|$))")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to one prompt, the preferred one first, and by how much it is preferred (0 to 1)."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    margin: float = 0.0

    @property
    def prompt_key(self) -> str:
        """The same for every pair about the same prompt, however the row spelled it."""
        return content_id("prompt", [{"role": m["role"], "content": m["content"]} for m in self.prompt])

    def row(self) -> dict[str, Any]:
        """The pair in the format of `preferences.jsonl`."""
        return {
            "prompt": list(self.prompt),
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
            "margin": self.margin,
        }


@dataclass(frozen=True, slots=True)
class PairSet:
    """Token ids ready for TRL's `RewardTrainer`, and how many pairs lost the oldest part of their prompt."""

    dataset: Dataset
    cut: int


def to_pair(row: Row, where: str) -> Pair:
    """One row as a `Pair`; `where` (a file and line, say) opens the message of any `UserError`."""
    try:
        pair = _read_row(row)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    if not pair.chosen.strip() or not pair.rejected.strip():
        side = "chosen" if not pair.chosen.strip() else "rejected"
        raise UserError(f'{where}: the "{side}" response is empty. Remove the row, or give it a response.')
    if pair.chosen == pair.rejected:
        raise UserError(f"{where}: both responses are the same text. Remove the row: it says nothing about preference.")
    return pair


def to_pairs(rows: Sequence[Row]) -> list[Pair]:
    """Every row as a `Pair`; a `UserError` names the first bad one by its number, counted from one."""
    return [to_pair(row, f"preference {number}") for number, row in enumerate(rows, start=1)]


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
            rows.append(to_pair(row, f"{path}, line {number}").row())
        except UserError as error:
            if not _is_hh(row):
                raise
            left_out.append((number, str(error).removeprefix(f"{path}, line {number}: ")))
    if not rows:
        raise UserError(f"{path}: holds no pairs to compare. Give a file with at least one preference a line.")
    return rows, left_out


def split_by_prompt(rows: Sequence[Row], held_out: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split rows into `(train, held out)` so that a prompt is never in both; `held_out` is a share of the prompts."""
    keys = [pair.prompt_key for pair in to_pairs(rows)]
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
    seen = {pair.prompt_key for pair in to_pairs(train)}
    shared = {pair.prompt_key: pair for pair in to_pairs(held_out) if pair.prompt_key in seen}
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


def _read_row(row: Row) -> Pair:
    for side in ("chosen", "rejected"):
        if not isinstance(row.get(side), str | list):
            raise ValueError(f'the field "{side}" must be a string or a list of messages.')
    margin = row.get("margin") or 0.0
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise ValueError(f'the field "margin" must be a number, found {margin!r}.')
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if type(chosen) is not type(rejected):
        raise ValueError('"chosen" and "rejected" must be both strings or both lists of messages.')
    if _is_hh(row):
        chosen, rejected = _hh_messages(chosen), _hh_messages(rejected)
    if isinstance(chosen, str):
        if prompt is None:
            prompt = _shared_text(chosen, rejected)
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        replies = chosen, rejected
    else:
        both = [_messages(chosen, "chosen"), _messages(rejected, "rejected")]
        if prompt is None:
            prompt = both[0][:-1]
            if both[1][:-1] != prompt:
                raise ValueError("the two conversations differ before their last turn.")
            both = [messages[-1:] for messages in both]
        if any(len(messages) != 1 or messages[0]["role"] != "assistant" for messages in both):
            raise ValueError('"chosen" and "rejected" must each end in one assistant turn that answers the prompt.')
        replies = both[0][0]["content"], both[1][0]["content"]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _messages(prompt, "prompt")
    if not turns or turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise ValueError("the prompt must end with a user turn that is not empty.")
    return Pair(tuple(turns), *replies, margin=float(margin))


def _messages(value: object, field: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise ValueError(f'the field "{field}" must be a string or a list of messages that is not empty.')
    for message in value:
        if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
            raise ValueError(f'each message in "{field}" needs the strings "role" and "content".')
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _is_hh(row: Row) -> bool:
    return "prompt" not in row and all(
        isinstance(row.get(side), str) and re.match(r"\s*Human:", row[side]) for side in ("chosen", "rejected")
    )


def _hh_messages(text: str) -> list[Message]:
    """Turns of "\\n\\nHuman: ...\\n\\nAssistant: ..." (Bai et al. 2022, the format of hh-rlhf)."""
    _, *parts = _HH_TURN.split("\n\n" + text.lstrip())
    return [
        {"role": _HH_ROLES[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _shared_text(chosen: str, rejected: str) -> str:
    """The part that both texts open with, back to the last white space (what TRL's `extract_prompt` does)."""
    shared = commonprefix([chosen, rejected])  # noqa: RUF071 (characters are meant)
    return shared[: max(shared.rfind(" "), shared.rfind("\n")) + 1]
