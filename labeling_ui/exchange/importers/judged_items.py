"""What an importer makes of a record: responses to one prompt, and what was said of them.

Here is what all formats share: the records that they make, and the faults that every record is checked for. How a file
is read is in `rows.py`, what its columns are in `layout.py`, and how a format is laid out in the module named after it.
Nothing is stored here: `exchange/imports.py` does that.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from labeling_ui.data_model import Answer, Message

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Vote:
    """What one annotator said of an item.

    The answer names responses by their place in the item: "0" is the first. No format says on which side one was shown.
    `annotator` is None for somebody whom the file does not name: each such vote is another unknown person's. `scale` is
    the highest rating, where the record says it.
    """

    annotator: str | None
    answer: Answer
    simulated: bool = False
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """Responses to one prompt, in the data's order, and the votes on them.

    `sources` says of each response what wrote it, where the file does.
    """

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    votes: tuple[Vote, ...]
    references: tuple[str, ...] = ()
    sources: tuple[Mapping[str, Any], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record, or a part of one, that was not imported."""

    line: int
    reason: str


class Refused(Exception):
    """Why a record, or one vote of it, cannot be imported; raised for the record, returned for the vote."""


Parsed = Iterable[Item | Refused]


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


def preferred(winner: int | None, strength: int | None = None) -> Answer:
    """The answer to a pair; no winner is a tie."""
    return Answer("tie") if winner is None else Answer("preferred", winner=str(winner), strength=strength)


def numbered_verdict(verdict: int) -> Answer:
    """The answer to a pair of a verdict of 1 (the first is better), 2 (the second) or 0 (a tie)."""
    return preferred(verdict - 1 if verdict else None)


def fault(item: Item) -> str | None:
    """What is wrong with an item, whatever its format; None if nothing is."""
    roles = [said["role"] for said in item.prompt if said["role"] != "system"]
    responses = [response.strip() for response in item.responses]
    names = [vote.annotator for vote in item.votes if vote.annotator is not None]
    if not all(responses):
        return "a response is empty"
    if len(set(responses)) < len(responses):
        return "the two responses are the same" if len(responses) == 2 else "two of the responses are the same"
    if any(role not in ("user", "assistant") for role in roles):
        return "a role is neither system, user nor assistant"
    if not all(turn["content"].strip() for turn in item.prompt):
        return "the prompt is empty"
    if not roles or roles[0] != "user" or roles[-1] != "user":
        return "the prompt does not begin and end with the user's turn"
    if not all(0 < len(name) <= 100 for name in names):
        return "an annotator's name is empty, or longer than 100 characters"
    said = [text for vote in item.votes for text in (vote.answer.reason, vote.answer.rationale, vote.answer.rewrite)]
    texts = [*item.responses, *item.references, *(turn["content"] for turn in item.prompt), *names, *said]
    if any(_UNSTORABLE.search(text) for text in texts):
        return "a text holds characters that cannot be stored (NUL, or half of a surrogate pair)"
    return None


def brief(value: object) -> str:
    """A value as it can be shown in a message."""
    text = repr(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 40 else f"{text[:37]}..."
