"""Chatbot Arena's votes: `model_a` against `model_b`, as conversations or as lists of turns.

Three layouts that were published over the years are read: conversations with `winner` (33k, 100k; MT-bench's human
judgements with a `turn`), conversations whose content comes in parts and with `both_bad` (140k), and lists of
prompts and responses with one column for each outcome (55k). Which model wrote what is not kept. A judge whose name
begins with "gpt" is a model: its votes are marked as simulated. Votes cast with the models' names in view, images,
and conversations whose earlier turns differ (the two models answered differently before) are refused.
"""

import json
from collections.abc import Iterable
from typing import Any

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.data_model import Answer, Message
from labeling_ui.exchange.importers.judged_items import Format, Item, Refused, Vote, preferred, tidy

_ANSWERS = {
    "model_a": preferred(0),
    "model_b": preferred(1),
    "tie": Answer("tie"),
    "tie (bothbad)": Answer("both_bad"),
    "bothbad": Answer("both_bad"),
    "both_bad": Answer("both_bad"),
}
_OUTCOMES = {"winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie"}


def arena(row: Row, where: str) -> Iterable[Item]:
    """One vote of Chatbot Arena."""
    answer = _answer(row, where)
    if row.get("anony") is False:
        raise Refused("the models' names were in view (anony is false)")
    if isinstance(row.get("evaluation_order"), int) and row["evaluation_order"] > 1:
        raise Refused("it is a later vote of its session: what was said before is not in the conversation")
    first, second = (_conversation(row, side, where) for side in "ab")
    for conversation in (first, second):
        if not conversation or conversation[-1]["role"] != "assistant":
            raise Refused("the last turn is not the assistant's")
    if first[:-1] != second[:-1]:
        raise Refused("the conversations differ before the last reply")
    judge = str(row.get("judge") or row.get("judge_hash") or "(imported)")
    vote = Vote(f"arena {judge}", answer, simulated=judge.lower().startswith("gpt"))
    return [Item(tidy(first[:-1]), (first[-1]["content"], second[-1]["content"]), (vote,))]


def _answer(row: Row, where: str) -> Answer:
    winner = row.get("winner")
    if winner is None:
        winner = next((name for column, name in _OUTCOMES.items() if row.get(column) in (1, True, "1")), None)
    if winner is None:
        raise UserError(f'{where}: the field "winner" is missing.')
    if winner not in _ANSWERS:
        raise Refused(f"the winner {str(winner)[:40]!r} is none of {', '.join(_ANSWERS)}")
    return _ANSWERS[winner]


def _conversation(row: Row, side: str, where: str) -> list[Message]:
    """The turns that were judged: of MT-bench's two, the first alone if `turn` says so."""
    if f"conversation_{side}" in row:
        turns = [_turn(said) for said in _list(row, f"conversation_{side}", where)]
        system = [said for said in turns if said["role"] == "system"]
        talk = [said for said in turns if said["role"] != "system"]
        number = row.get("turn")
        return [*system, *(talk[: 2 * number] if type(number) is int and number > 0 else talk)]
    prompts, replies = (_list(row, name, where) for name in ("prompt", f"response_{side}"))
    if len(prompts) != len(replies):
        raise Refused("there are not as many responses as prompts")
    pairs = zip(prompts, replies, strict=True)
    return [
        _turn({"role": role, "content": said})
        for pair in pairs
        for role, said in zip(("user", "assistant"), pair, strict=True)
    ]


def _list(row: Row, name: str, where: str) -> list[Any]:
    found = row.get(name)
    if isinstance(found, str):  # some copies carry the list as JSON inside a string
        try:
            found = json.loads(found)
        except ValueError as error:
            raise Refused(f'the field "{name}" is a string, but not JSON') from error
    if not isinstance(found, list):
        raise UserError(f'{where}: the field "{name}" must be a list, found {type(found).__name__}.')
    return found


def _turn(said: object) -> Message:
    if not isinstance(said, dict) or not isinstance(said.get("role"), str):
        raise Refused("a message has no role and content that are text")
    content = said.get("content")
    if isinstance(content, list):
        if any(not isinstance(part, dict) or part.get("type", "text") != "text" for part in content):
            raise Refused("a message holds more than text")
        content = "".join(str(part.get("text") or "") for part in content)
    return Message(role=said["role"], content=(content or "").strip() if isinstance(content, str | None) else "")


FORMAT = Format(arena, ("id", "question_id", "model_a", "model_b", "judge", "turn"))
