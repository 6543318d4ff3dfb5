"""How other people's preference files are laid out: each format's records as pairs with votes.

    trl          JSON Lines: `chosen`, `rejected`, `prompt` (or none: the shared beginning is the prompt), as text
                 or as messages; `margin` in (0, 1] becomes a strength
    hh           JSON Lines: `chosen` and `rejected` as one text with "\\n\\nHuman:" and "\\n\\nAssistant:" turns
    finegrained  JSON (FineGrainedRLHF): four predictions a question and six verdicts. The question alone is the
                 prompt: with its passages it would not fit the context of small models
    oasst        JSON Lines (OpenAssistant): ranked pairs, or message trees whose ranked siblings become pairs
    pandalm      JSON (PandaLM's test set): two responses and the verdicts of three annotators

A record without a usable pair is a `Refusal`. A file that is no such file raises `UserError` with line and
field. In a JSON array the "line" is the record's number. Nothing is stored here.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import Row, read_json, read_jsonl
from rlhf_pipeline.labeling_ui.records import Message


@dataclass(frozen=True, slots=True)
class Vote:
    """What one annotator said of a pair; `winner` None is a tie."""

    annotator: str
    winner: Literal["first", "second"] | None
    strength: int | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to one prompt, in the data's order; no format says on which side they were shown."""

    prompt: tuple[Message, ...]
    first: str
    second: str
    votes: tuple[Vote, ...]
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record, or a pair of it, that was not imported."""

    line: int
    reason: str


class _Refused(Exception):
    """Carries the reason; the record holds no pair."""


def read_pairs(format: str, path: Path) -> Iterator[tuple[int, Pair] | Refusal]:
    """Yield each usable pair with its line, and a refusal for every other."""
    read, parse = FORMATS[format]
    for line, row in read(path):
        try:
            pairs = parse(row, f"{path}, {'line' if read is read_jsonl else 'record'} {line}")
        except _Refused as refused:
            yield Refusal(line, str(refused))
            continue
        for pair in pairs:
            fault = _fault(pair)
            yield Refusal(line, fault) if fault else (line, pair)


def _fault(pair: Pair) -> str | None:
    texts = [pair.first, pair.second, *pair.references, *(message["content"] for message in pair.prompt)]
    roles = [message["role"] for message in pair.prompt if message["role"] != "system"]
    if not pair.first.strip() or not pair.second.strip():
        return "a response is empty"
    if pair.first.strip() == pair.second.strip():
        return "the two responses are the same"
    if any(role not in ("user", "assistant") for role in roles):
        return "a role is neither system, user nor assistant"
    if not roles or roles[0] != "user" or roles[-1] != "user":
        return "the prompt does not begin and end with the user's turn"
    if any("\0" in text or re.search("[\ud800-\udfff]", text) for text in texts):
        return "a text holds characters that cannot be stored (NUL, or half of a surrogate pair)"
    return None


def _trl(row: Row, where: str) -> Iterable[Pair]:
    for name in ("chosen", "rejected", "prompt"):
        if name not in row and name != "prompt":
            raise UserError(f'{where}: the field "{name}" is missing.')
        if not isinstance(row.get(name, ""), str | list):
            raise UserError(f'{where}: the field "{name}" must be a string or a list of messages.')
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    if type(chosen) is not type(rejected):
        raise UserError(f'{where}: the fields "chosen" and "rejected" must both be text, or both be messages.')
    if prompt is None:
        shared = _shared_messages(chosen, rejected) if isinstance(chosen, list) else _shared_words(chosen, rejected)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not prompt:
            raise _Refused("chosen and rejected share no beginning that could be the prompt")
    simulated = row.get("simulated") is True  # our own export says so; simulated labels never pass for human ones
    name = "trl (imported, simulated)" if simulated else "trl (imported)"
    vote = Vote(name, "first", _strength(row.get("margin")), simulated)
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    return [Pair(_tidy(messages), _reply(chosen), _reply(rejected), (vote,))]


def _shared_messages(chosen: list[Any], rejected: list[Any]) -> int:
    most = min(len(chosen), len(rejected)) - 1
    return next((i for i in range(most) if chosen[i] != rejected[i]), max(most, 0))


def _shared_words(chosen: str, rejected: str) -> int:
    most = min(len(chosen), len(rejected))
    shared = next((i for i in range(most) if chosen[i] != rejected[i]), most)
    while shared and not chosen[shared - 1].isspace():
        shared -= 1
    return shared


def _strength(margin: object) -> int | None:
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= 1:
        raise _Refused(f"margin {margin!r} is not in (0, 1]: rescale the margins, or leave them out")
    return max(1, math.floor(3 * margin + 0.5))


def _hh(row: Row, where: str) -> Iterable[Pair]:
    texts = [_string(row, name, where) for name in ("chosen", "rejected")]
    chosen, rejected = map(_turns, texts)
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        raise _Refused("the last turn is not the assistant's")
    if chosen[:-1] != rejected[:-1]:
        raise _Refused("the conversations differ before the last reply")
    vote = Vote("hh (imported)", "first")
    return [Pair(_tidy(chosen[:-1]), chosen[-1]["content"], rejected[-1]["content"], (vote,))]


def _turns(text: str) -> list[Message]:
    before, *parts = re.split(r"(?:\A|\n\n)(Human|Assistant):", text)
    if before.strip() or not parts:
        raise _Refused("the text does not begin with a Human: or Assistant: turn")
    roles = ["user" if name == "Human" else "assistant" for name in parts[::2]]
    return [Message(role=role, content=said.strip()) for role, said in zip(roles, parts[1::2], strict=True)]


def _finegrained(row: Row, where: str) -> Iterable[Pair]:
    predictions = [_string(row, f"prediction {number}", where).strip() for number in (1, 2, 3, 4)]
    verdicts = _list(row, "preference", where)
    if len(verdicts) != 6 or any(type(verdict) is not int or verdict not in (0, 1, 2) for verdict in verdicts):
        raise UserError(f'{where}: the field "preference" must hold six verdicts, each 0, 1 or 2.')
    prompt = (Message(role="user", content=_string(row, "question", where).strip()),)
    gold = row.get("gold")
    references = (gold.strip(),) if isinstance(gold, str) and gold.strip() else ()
    return [
        Pair(prompt, first, second, (Vote("finegrained (imported)", _winner(verdict)),), references)
        for (first, second), verdict in zip(combinations(predictions, 2), verdicts, strict=True)
    ]


def _pandalm(row: Row, where: str) -> Iterable[Pair]:
    instruction, given = (_string(row, name, where).strip() for name in ("instruction", "input"))
    verdicts = {name: _value(row, name, where) for name in ("annotator1", "annotator2", "annotator3")}
    for name, verdict in verdicts.items():
        if type(verdict) is not int or verdict not in (0, 1, 2):
            raise UserError(f'{where}: the field "{name}" must be 0, 1 or 2, found {verdict!r}.')
    first, second = (_value(row, name, where) for name in ("response1", "response2"))
    if not isinstance(first, str) or not isinstance(second, str):
        raise _Refused("a response is not text")
    prompt = (Message(role="user", content=f"{instruction}\n\n{given}".strip()),)
    votes = tuple(Vote(name, _winner(verdict)) for name, verdict in verdicts.items())
    return [Pair(prompt, first.strip(), second.strip(), votes)]


def _oasst(row: Row, where: str) -> Iterable[Pair]:
    if "message_tree_id" in row:
        return list(_tree_pairs(_object(row, "prompt", where), where))
    if _string(row, "reply_role", where) != "assistant":
        raise _Refused("the ranked replies are the user's")
    prompt = [_oasst_message(message, where) for message in _list(row, "context", where)]
    chosen, rejected = (_string(row, name, where).strip() for name in ("chosen", "rejected"))
    return [Pair(_tidy(prompt), chosen, rejected, (Vote("oasst (imported)", "first"),))]


def _tree_pairs(root: Row, where: str) -> Iterator[Pair]:
    """Pairs of assistant replies to the same message whose ranks differ; rank 0 is the best."""
    unread = [(root, [_oasst_message(root, where)])]
    while unread:
        message, path = unread.pop()
        replies = [(reply, _oasst_message(reply, where)) for reply in message.get("replies") or []]
        unread += [(reply, [*path, said]) for reply, said in replies]
        ranked = [
            (reply["rank"], said["content"])
            for reply, said in replies
            if said["role"] == "assistant" and isinstance(reply.get("rank"), int) and not reply.get("deleted")
        ]
        for (better, chosen), (worse, rejected) in combinations(sorted(ranked), 2):
            if better < worse:
                yield Pair(_tidy(path), chosen, rejected, (Vote("oasst (imported)", "first"),))


def _oasst_message(message: object, where: str) -> Message:
    if not isinstance(message, dict):
        raise UserError(f"{where}: a message is not an object with a role and a text.")
    role, text = _string(message, "role", where), _string(message, "text", where)
    return Message(role="user" if role == "prompter" else role, content=text.strip())


def _winner(verdict: int) -> Literal["first", "second"] | None:
    return "first" if verdict == 1 else "second" if verdict == 2 else None


def _tidy(messages: Iterable[object]) -> tuple[Message, ...]:
    """The messages without empty turns, and with turns of the same role in a row made one."""
    tidy: list[Message] = []
    for message in messages:
        said = _message(message)
        if not said["content"].strip():
            continue
        if tidy and tidy[-1]["role"] == said["role"]:
            said = Message(role=said["role"], content=f"{tidy.pop()['content']}\n\n{said['content']}")
        tidy.append(said)
    return tuple(tidy)


def _reply(response: str | list[object]) -> str:
    if isinstance(response, str):
        return response
    messages = [_message(message) for message in response]
    if [message["role"] for message in messages] != ["assistant"]:
        raise _Refused("after the prompt there is not exactly one reply of the assistant")
    return messages[0]["content"]


def _message(message: object) -> Message:
    if isinstance(message, dict):
        role, content = message.get("role"), message.get("content")
        if isinstance(role, str) and isinstance(content, str):
            return Message(role=role, content=content)
    raise _Refused("a message has no role and content that are text")


def _value(row: Row, name: str, where: str) -> Any:
    if name not in row:
        raise UserError(f'{where}: the field "{name}" is missing.')
    return row[name]


def _string(row: Row, name: str, where: str) -> str:
    value = _value(row, name, where)
    if not isinstance(value, str):
        raise UserError(f'{where}: the field "{name}" must be a string, found {type(value).__name__}.')
    return value


def _list(row: Row, name: str, where: str) -> list[Any]:
    value = _value(row, name, where)
    if not isinstance(value, list):
        raise UserError(f'{where}: the field "{name}" must be a list, found {type(value).__name__}.')
    return value


def _object(row: Row, name: str, where: str) -> Row:
    value = _value(row, name, where)
    if not isinstance(value, dict):
        raise UserError(f'{where}: the field "{name}" must be an object, found {type(value).__name__}.')
    return value


def _json_records(path: Path) -> Iterator[tuple[int, Row]]:
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a JSON array of records, found {type(rows).__name__}.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, record {number}: expected a JSON object, found {type(row).__name__}.")
        yield number, row


_Read = Callable[[Path], Iterator[tuple[int, Row]]]
_Parse = Callable[[Row, str], Iterable[Pair]]

FORMATS: dict[str, tuple[_Read, _Parse]] = {
    "trl": (read_jsonl, _trl),
    "hh": (read_jsonl, _hh),
    "finegrained": (_json_records, _finegrained),
    "oasst": (read_jsonl, _oasst),
    "pandalm": (_json_records, _pandalm),
}
