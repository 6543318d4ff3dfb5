"""What an importer makes of a record: responses to one prompt, and what was said of them.

Here is what all formats share: reading a file record by record, and the faults that every record is checked for.
How a format is laid out is in the module named after it. Nothing is stored here: `exchange/imports.py` does that.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from foundation.errors import UserError
from foundation.files import Row, read_json, read_jsonl
from labeling_ui.data_model import Answer, Message

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_KINDS = {str: "a string", list: "a list", dict: "an object"}
Value = TypeVar("Value", str, list[Any], dict[str, Any])


@dataclass(frozen=True, slots=True)
class Vote:
    """What one annotator said of an item.

    The answer names responses by their place in the item: "0" is the first. No format says on which side one was shown.
    """

    annotator: str
    answer: Answer
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """Responses to one prompt, in the data's order, and the votes on them."""

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    votes: tuple[Vote, ...]
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record, or a part of one, that was not imported."""

    line: int
    reason: str


class Refused(Exception):
    """Raised for a record that holds nothing to import; carries the reason."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a record is read, and which of its values name it: no two records of a file may share them."""

    parse: Callable[[Row, str], Iterable[Item]]
    identity: tuple[str, ...] = field(default=())


def read_items(format: Format, path: Path) -> Iterator[tuple[int, Item] | Refusal]:
    """Yield each usable item with its line, and a refusal for every other record."""
    seen: dict[tuple[str, ...], int] = {}
    for line, row, where in _records(path):
        try:
            _once(row, format.identity, seen, line)
            items = format.parse(row, where)
        except Refused as refused:
            yield Refusal(line, str(refused))
            continue
        for item in items:
            fault = _fault(item)
            yield Refusal(line, fault) if fault else (line, item)


def in_ids(answer: Answer, ids: Sequence[str]) -> Answer:
    """An answer that names responses by their place, as one that names them by their ids."""
    return replace(
        answer,
        winner=None if answer.winner is None else ids[int(answer.winner)],
        ranking=tuple(tuple(ids[int(place)] for place in group) for group in answer.ranking),
        ratings={
            aspect: {ids[int(place)]: score for place, score in scores.items()}
            for aspect, scores in answer.ratings.items()
        },
    )


def value(row: Row, name: str, kind: type[Value], where: str) -> Value:
    """The field of a record, which must be there and of this kind."""
    if name not in row:
        raise UserError(f'{where}: the field "{name}" is missing.')
    found = row[name]
    if not isinstance(found, kind):
        raise UserError(f'{where}: the field "{name}" must be {_KINDS[kind]}, found {type(found).__name__}.')
    return found


def message(said: object) -> Message:
    """A message of a conversation."""
    if isinstance(said, dict):
        role, content = said.get("role"), said.get("content")
        if isinstance(role, str) and isinstance(content, str):
            return Message(role=role, content=content)
    raise Refused("a message has no role and content that are text")


def tidy(messages: Iterable[object]) -> tuple[Message, ...]:
    """The messages without empty turns, and with turns of the same role in a row made one."""
    kept: list[Message] = []
    for said in map(message, messages):
        if not said["content"].strip():
            continue
        if kept and kept[-1]["role"] == said["role"]:
            said = Message(role=said["role"], content=f"{kept.pop()['content']}\n\n{said['content']}")
        kept.append(said)
    return tuple(kept)


def asked(text: str) -> tuple[Message, ...]:
    """A prompt that is one turn of the user's."""
    return (Message(role="user", content=text),)


def preferred(winner: int | None, strength: int | None = None) -> Answer:
    """The answer to a pair; no winner is a tie."""
    return Answer("tie") if winner is None else Answer("preferred", winner=str(winner), strength=strength)


def numbered_verdict(verdict: int) -> Answer:
    """The answer to a pair of a verdict of 1 (the first is better), 2 (the second) or 0 (a tie)."""
    return preferred(verdict - 1 if verdict else None)


def _records(path: Path) -> Iterator[tuple[int, Row, str]]:
    """Records of JSON Lines or of one JSON array, each with its line (or number) and where it stands."""
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"["):
        for line, row in read_jsonl(path):
            yield line, row, f"{path}, line {line}"
        return
    for number, row in enumerate(read_json(path), start=1):
        where = f"{path}, record {number}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}.")
        yield number, row, where


def _once(row: Row, names: Sequence[str], seen: dict[tuple[str, ...], int], line: int) -> None:
    given = [(name, row[name]) for name in names if row.get(name) is not None]
    identity = tuple(repr(part) for _, part in given)
    if identity and seen.setdefault(identity, line) != line:
        called = ", ".join(f"{name} {_brief(part)}" for name, part in given)
        raise Refused(f"the record with {called} is in the file already, at {seen[identity]}")


def _fault(item: Item) -> str | None:
    roles = [said["role"] for said in item.prompt if said["role"] != "system"]
    responses = [response.strip() for response in item.responses]
    names = [" ".join(vote.annotator.split()) for vote in item.votes]
    if not all(responses):
        return "a response is empty"
    if len(set(responses)) < len(responses):
        return "the two responses are the same" if len(responses) == 2 else "two of the responses are the same"
    if any(role not in ("user", "assistant") for role in roles):
        return "a role is neither system, user nor assistant"
    if not roles or roles[0] != "user" or roles[-1] != "user":
        return "the prompt does not begin and end with the user's turn"
    if not all(0 < len(name) <= 100 for name in names):
        return "an annotator's name is empty, or longer than 100 characters"
    said = [text for vote in item.votes for text in (vote.answer.reason, vote.answer.rationale, vote.answer.rewrite)]
    texts = [*item.responses, *item.references, *(turn["content"] for turn in item.prompt), *names, *said]
    if any(_UNSTORABLE.search(text) for text in texts):
        return "a text holds characters that cannot be stored (NUL, or half of a surrogate pair)"
    return None


def _brief(value: object) -> str:
    text = repr(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 40 else f"{text[:37]}..."
