"""Chatbot Arena's votes: `model_a` against `model_b`, as conversations or as lists of turns.

Three layouts that were published over the years are read: conversations with `winner` (33k, 100k; MT-bench's human
judgements with a `turn`), conversations whose content comes in parts and with `both_bad` (140k), and lists of
prompts and responses with one column for each outcome (55k). Which model wrote what is not kept. A judge whose name
begins with "gpt" is a model: its votes are marked as simulated. Votes cast with the models' names in view, images,
and conversations whose earlier turns differ (the two models answered differently before) are refused.
"""

from foundation.files import Row
from labeling_ui.data_model import Answer, Message
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, brief, preferred
from labeling_ui.exchange.importers.layout import Format, Layout
from labeling_ui.exchange.importers.messages import message, tidy
from labeling_ui.exchange.importers.values import flag, listed, name_of, whole

_ANSWERS = {
    "model_a": preferred(0),
    "model_b": preferred(1),
    "tie": Answer("tie"),
    "tie (bothbad)": Answer("both_bad"),
    "bothbad": Answer("both_bad"),
    "both_bad": Answer("both_bad"),
}
_JUDGES = ("judge", "judge_hash")
_OUTCOMES = {"winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie"}


def arena(row: Row, layout: Layout) -> Parsed:
    """One vote of Chatbot Arena."""
    answer = _answer(row)
    if flag(row, "anony") is False:
        raise Refused("the models' names were in view (anony is false)")
    if (_counted(row, "evaluation_order") or 1) > 1:
        raise Refused("it is a later vote of its session: what was said before is not in the conversation")
    first, second = (_conversation(row, side) for side in "ab")
    for conversation in (first, second):
        if not conversation or conversation[-1]["role"] != "assistant":
            raise Refused("the last turn is not the assistant's")
    if first[:-1] != second[:-1]:
        raise Refused("the conversations differ before the last reply")
    named = next((name for name in map(name_of, map(row.get, _JUDGES)) if name), None)
    judge = layout.person(named and f"arena {named}")
    simulated = bool(named) and str(named).lower().startswith("gpt")
    return [
        Item(tidy(first[:-1]), (first[-1]["content"], second[-1]["content"]), (Vote(judge, answer, simulated),))
    ]  # fmt: skip


def _answer(row: Row) -> Answer:
    winner = row.get("winner")
    if winner is None:
        won = [name for column, name in _OUTCOMES.items() if row.get(column) in (1, True, "1")]
        if len(won) != 1:
            raise Refused("it has no outcome: neither a winner, nor one column of the outcomes that is 1")
        winner = won[0]
    if not isinstance(winner, str) or winner not in _ANSWERS:
        raise Refused(f"the winner {brief(winner)} is none of {', '.join(_ANSWERS)}")
    return _ANSWERS[winner]


def _conversation(row: Row, side: str) -> list[Message]:
    """The turns that were judged: of MT-bench's two, the first alone if `turn` says so."""
    if row.get(f"conversation_{side}") is not None:
        turns = [_turn(said) for said in listed(row, f"conversation_{side}")]
        system = [said for said in turns if said["role"] == "system"]
        talk = [said for said in turns if said["role"] != "system"]
        number = _counted(row, "turn") or 0
        return [*system, *(talk[: 2 * number] if number > 0 else talk)]
    prompts, replies = (listed(row, name) for name in ("prompt", f"response_{side}"))
    if len(prompts) != len(replies):
        raise Refused("there are not as many responses as prompts")
    pairs = zip(prompts, replies, strict=True)
    return [
        _turn({"role": role, "content": said or ""})
        for pair in pairs
        for role, said in zip(("user", "assistant"), pair, strict=True)
    ]


def _counted(row: Row, name: str) -> int | None:
    return whole(row[name], name) if name_of(row.get(name)) else None


def _turn(said: object) -> Message:
    found = message({**said, "content": said.get("content") or ""} if isinstance(said, dict) else said)
    return Message(role=found["role"], content=found["content"].strip())


FORMAT = Format(
    arena,
    (
        "winner", *_OUTCOMES, "conversation_a", "conversation_b", "prompt", "response_a", "response_b", "turn", "anony",
        "evaluation_order",
    ),
    identity=("id", "question_id"),
    apart=("model_a", "model_b", "judge", "turn"),
    people=_JUDGES,
)  # fmt: skip
