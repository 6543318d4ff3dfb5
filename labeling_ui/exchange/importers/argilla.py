"""Argilla's records: feedback records of version 1 and of version 2, nested or flat.

    v2          {"id", "fields": {...}, "responses": {question: [{"value", "user_id"}]}}
    v2, flat    {"id", field: ..., "question.responses": [...], "question.responses.users": [...], "....status": [...]}
    v1          {"fields": {...}, "responses": [{"user_id", "status", "values": {question: {"value"}}}]}
    v1, hub     {field: ..., question: [{"user_id", "value", "status"}], "external_id"}

A user's answers become one vote for each kind of judgement among them. Discarded answers are skips; drafts are
not taken. Suggestions are models' guesses and are never read. Users keep their Argilla id, and no name.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from foundation.files import Row
from labeling_ui.data_model import Answer
from labeling_ui.exchange.importers import field_mapping
from labeling_ui.exchange.importers.judged_items import Format, Item, Refused, Vote

_Given = tuple[str, str, str, Any]
"""User, status, question, value."""


def argilla(row: Row, where: str) -> Iterable[Item]:
    """One record, as an item for each kind of judgement that was given on it."""
    shown = row["fields"] if isinstance(row.get("fields"), dict) else row
    given = list(_given(row))
    if not given:
        raise Refused("nobody has answered it")
    prompt, responses = field_mapping.conversation(shown), field_mapping.responses(shown)
    said: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    skipped: set[str] = set()
    for user, status, question, value in given:
        if status in ("discarded", "ignored"):
            skipped.add(user)
        elif status == "submitted":
            said[user].append((question, value))
    votes: dict[str, list[Vote]] = defaultdict(list)
    for user, values in said.items():
        for answer in field_mapping.answers(values, list(responses)):
            votes[kind_of(answer)].append(Vote(f"argilla {user}", answer))
    if not votes and not skipped:
        raise Refused("its answers are drafts, or say nothing of the responses")
    for user in sorted(skipped - said.keys()):
        votes[next(iter(votes), "skip")].append(Vote(f"argilla {user}", Answer("skip", reason="discarded in Argilla")))
    return [Item(prompt, tuple(responses.values()), tuple(each)) for each in votes.values()]


def kind_of(answer: Answer) -> str:
    """The kind of campaign that an answer belongs to."""
    return {"ranked": "ranking", "rated": "rating", "skip": "skip"}.get(answer.verdict, "pairwise")


def _given(row: Row) -> Iterator[_Given]:
    responses = row.get("responses")
    if isinstance(responses, dict):
        for question, each in responses.items():
            yield from _by_question(question, each)
    elif isinstance(responses, list):
        for response in responses:
            values = response.get("values") if isinstance(response, dict) else None
            if isinstance(response, dict) and not values:
                yield _user(response), _status(response), "", None
            elif isinstance(values, dict):
                for question, value in values.items():
                    value = value.get("value") if isinstance(value, dict) else value
                    yield _user(response), _status(response), question, value
    else:
        for name, each in row.items():
            if name.endswith(".responses") and isinstance(each, list):
                users, states = row.get(f"{name}.users") or [], row.get(f"{name}.status") or []
                for place, value in enumerate(each):
                    user = str(users[place]) if place < len(users) else "unknown"
                    status = str(states[place] or "submitted") if place < len(states) else "submitted"
                    yield user, status, name.removesuffix(".responses"), value
            elif isinstance(each, list) and all(isinstance(one, dict) and "user_id" in one for one in each):
                yield from _by_question(name, each)


def _by_question(question: str, each: Any) -> Iterator[_Given]:
    for one in each if isinstance(each, list) else []:
        if isinstance(one, dict):
            yield _user(one), _status(one), question, one.get("value")


def _user(response: Row) -> str:
    return str(response.get("user_id") or "unknown")


def _status(response: Row) -> str:
    return str(response.get("status") or "submitted")


FORMAT = Format(argilla, ("id", "external_id"))
