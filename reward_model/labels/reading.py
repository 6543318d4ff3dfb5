"""Rows to labels, and files of preferences to rows; anything malformed is refused with its line or number.

A row is one line of `preferences.jsonl`, of any preference data set in TRL's formats, or of the exports `ties`,
`orders` and `ratings`; its fields say which. Two texts without a prompt share it as their first words: TRL's
`extract_prompt` takes the first letters that they share, and so may part them within a word.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from foundation.errors import UserError
from foundation.files import read_jsonl
from foundation.scripts import shared_beginning
from reward_model.labels.records import OVERALL, Label, Message, Pair, Ranking, Rating, Row

_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):(?: |(?=\n|$))")

_HH_ROLES = {"Human": "user", "Assistant": "assistant"}


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
            pair = to_pair(row, f"{path}, line {number}")
            rows.append({**row, "p_both_bad": None, **pair.row()})  # which is in the pair's `p_tie`
        except UserError as error:
            if not is_hh(row):
                raise
            left_out.append((number, str(error).removeprefix(f"{path}, line {number}: ")))
    if not rows:
        raise UserError(f"{path}: holds no pairs to compare. Give a file with at least one preference a line.")
    return rows, left_out


def to_label(row: Row, where: str) -> Label:
    """One row as a label; `where` (a file and line, say) opens the message of any `UserError`."""
    try:
        if "ranks" in row:
            label: Label = _read_ranking(row)
        elif "response" in row:
            label = _read_rating(row)
        else:
            label = _read_pair(row)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    names = ("chosen", "rejected") if isinstance(label, Pair) else ("response",) * len(label.responses)
    for name, text in zip(names, label.responses, strict=True):
        if not text.strip():
            raise UserError(f'{where}: the "{name}" response is empty. Remove the row, or give it a response.')
    if len(set(label.responses)) < len(label.responses):
        several = "both" if isinstance(label, Pair) else "two"
        raise UserError(
            f"{where}: {several} responses are the same text. Remove the row: it says nothing about preference."
        )
    return label


def to_labels(rows: Sequence[Row]) -> list[Label]:
    """Every row as a label; a `UserError` names the first bad one by its number, counted from one."""
    return [to_label(row, f"preference {number}") for number, row in enumerate(rows, start=1)]


def to_pair(row: Row, where: str) -> Pair:
    """As `to_label`, where only a comparison of two responses will do."""
    label = to_label(row, where)
    if not isinstance(label, Pair):
        raise UserError(f'{where}: this is no comparison of two responses: it needs "chosen" and "rejected".')
    return label


def to_pairs(rows: Sequence[Row]) -> list[Pair]:
    """As `to_labels`, where only comparisons of two responses will do."""
    return [to_pair(row, f"preference {number}") for number, row in enumerate(rows, start=1)]


def is_hh(row: Row) -> bool:
    """Whether the row is text of turns, as in hh-rlhf."""
    return "prompt" not in row and all(
        isinstance(row.get(side), str) and re.match(r"\s*Human:", row[side]) for side in ("chosen", "rejected")
    )


def _read_pair(row: Row) -> Pair:
    for side in ("chosen", "rejected"):
        if not isinstance(row.get(side), str | list):
            raise ValueError(f'the field "{side}" must be a string or a list of messages.')
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if type(chosen) is not type(rejected):
        raise ValueError('"chosen" and "rejected" must be both strings or both lists of messages.')
    if is_hh(row):
        chosen, rejected = _hh_messages(chosen), _hh_messages(rejected)
    if isinstance(chosen, str):
        if prompt is None:
            shared = shared_beginning(chosen, rejected)
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
            if not prompt.strip():
                raise ValueError('"chosen" and "rejected" share no beginning that could be the prompt: add a "prompt".')
    elif prompt is None:
        both = [read_messages(chosen, "chosen"), read_messages(rejected, "rejected")]
        prompt = both[0][:-1]
        if both[1][:-1] != prompt:
            raise ValueError("the two conversations differ before their last turn.")
        chosen, rejected = (messages[-1:] for messages in both)
    p_chosen = _number(row, "p_chosen", 1.0, 0, 1)
    p_tie = _number(row, "p_tie", 0.0, 0, 1) + _number(row, "p_both_bad", 0.0, 0, 1)  # both prefer neither
    if p_tie / 2 > min(p_chosen, 1 - p_chosen) + 1e-6:
        raise ValueError(
            f'"p_chosen" counts a tie as one half, so {p_chosen:g} does not go with a "p_tie" of {p_tie:g}.'
        )
    return Pair(
        _turns(prompt), _reply(chosen, "chosen"), _reply(rejected, "rejected"), _number(row, "margin", 0.0),
        _weight(row), p_chosen, p_tie, _aspect(row), row.get("decided") is not False,
    )  # fmt: skip


def _read_ranking(row: Row) -> Ranking:
    responses, ranks = row.get("responses"), row["ranks"]
    if not isinstance(responses, list) or len(responses) < 2:
        raise ValueError('a row with "ranks" needs a list of two or more "responses".')
    if not isinstance(ranks, list) or len(ranks) != len(responses) or not all(_is_place(rank) for rank in ranks):
        raise ValueError('"ranks" must hold a whole number of 1 or more for each response, 1 for the best.')
    texts = tuple(_reply(response, "responses") for response in responses)
    return Ranking(_turns(row.get("prompt")), texts, tuple(ranks), _weight(row), _aspect(row))


def _read_rating(row: Row) -> Rating:
    score, scale, annotator = row.get("score"), row.get("scale"), row.get("annotator") or ""
    if not _is_place(scale) or cast(int, scale) < 2 or not _is_place(score) or cast(int, score) > cast(int, scale):
        raise ValueError(f'a rating needs a whole "score" from 1 to its "scale", found {score!r} of {scale!r}.')
    if not isinstance(annotator, str):
        raise ValueError(f'the field "annotator" must be a string, found {annotator!r}.')
    response = _reply(row["response"], "response")
    prompt = _turns(row.get("prompt"))
    return Rating(prompt, response, cast(int, score), cast(int, scale), annotator, _weight(row), _aspect(row))


def _is_place(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _number(row: Row, field: str, default: float, low: float = -math.inf, high: float = math.inf) -> float:
    value = default if row.get(field) is None else row[field]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f'the field "{field}" must be a number, found {value!r}.')
    if not low <= value <= high:
        raise ValueError(f'the field "{field}" must be between {low:g} and {high:g}, found {value:g}.')
    return float(value)


def _weight(row: Row) -> float:
    return _number(row, "weight", 1.0, 0)


def _aspect(row: Row) -> str:
    aspect = row.get("aspect") or OVERALL
    if not isinstance(aspect, str):
        raise ValueError(f'the field "aspect" must be a string, found {aspect!r}.')
    return OVERALL if aspect == "overall" else aspect


def _turns(prompt: object) -> tuple[Message, ...]:
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else read_messages(prompt, "prompt")
    if not turns or turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise ValueError("the prompt must end with a user turn that is not empty.")
    return tuple(turns)


def _reply(value: object, field: str) -> str:
    if isinstance(value, str):
        return value
    messages = read_messages(value, field)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise ValueError(f'"{field}" must end in one assistant turn that answers the prompt.')
    return messages[0]["content"]


def read_messages(value: object, field: str) -> list[Message]:
    """The messages of a field of this name; `ValueError` if it holds no list of them."""
    if not isinstance(value, list) or (not value and field != "prompt"):
        raise ValueError(f'the field "{field}" must be a string or a list of messages that is not empty.')
    for message in value:
        if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
            raise ValueError(f'each message in "{field}" needs the strings "role" and "content".')
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _hh_messages(text: str) -> list[Message]:
    """Turns of "\\n\\nHuman: ...\\n\\nAssistant: ..." (Bai et al. 2022, the format of hh-rlhf)."""
    _, *parts = _HH_TURN.split("\n\n" + text.lstrip())
    return [
        {"role": _HH_ROLES[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]
