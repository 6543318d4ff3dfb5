"""Argilla's records: feedback records of version 1 and of version 2, nested or flat.

    v2          {"id", "fields": {...}, "responses": {question: [{"value", "user_id"}]}}
    v2, flat    {"id", field: ..., "question.responses": [...], "question.responses.users": [...], "....status": [...]}
    v1          {"fields": {...}, "responses": [{"user_id", "status", "values": {question: {"value"}}}]}
    v1, hub     {field: ..., question: [{"user_id", "value", "status"}], "external_id"}

Discarded answers are skips; drafts are not taken. Argilla's nested JSON gives no answer a status. Then the answer of a
completed record's only annotator is a vote, for no record is completed without a submitted answer; all others are
refused, unless the user says that they were submitted. Suggestions are models' guesses and are never read. Users keep
their Argilla id, and no name.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from foundation.files import Row
from labeling_ui.data_model import Answer
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, brief
from labeling_ui.exchange.importers.layout import Format, Layout, Questions, Wishes
from labeling_ui.exchange.importers.tools import fields
from labeling_ui.exchange.importers.tools.questions import Evidence, decide
from labeling_ui.exchange.importers.tools.votes import answer_of, said_of
from labeling_ui.exchange.importers.values import name_of

_TOOL = ("status", "_server_id")
_OF_ANSWER = (".responses", ".responses.users", ".responses.status")
_DISCARDED = ("discarded", "ignored")
_NO_STATUS = (
    "its answers carry no status, and drafts and discarded ones cannot be told from submitted ones: export the records "
    "flat (`records.to_list(flatten=True)`), or say --submitted if all were submitted"
)


class _Given(NamedTuple):
    """An answer to a question. Where nobody is named, `person` tells unknown people apart."""

    person: str
    name: str | None
    status: str | None
    question: str
    value: Any


def argilla(row: Row, layout: Layout) -> Parsed:
    """One record, as an item with a vote of each person."""
    columns, shown = layout.wishes.columns, _shown(row)
    given = list(_given(row))
    if not given:
        raise Refused("nobody has answered it")
    if not any(each.status for each in given) and not _counts(row, given, layout):
        raise Refused(_NO_STATUS)
    prompt, responses = fields.conversation(shown, columns), fields.responses(shown, columns)
    names, texts = list(responses), fields.response_texts(responses, prompt)
    by_person: dict[str, list[_Given]] = defaultdict(list)
    for each in given:
        by_person[each.person].append(each)
    votes: list[Vote] = []
    odd: list[Refused] = []
    for answers in by_person.values():
        try:
            votes += _vote(answers, names, layout, counts=_counts(row, given, layout))
        except Refused as refused:
            odd.append(refused)
    if not votes and not odd:
        raise Refused("its answers are drafts, or say nothing of the responses")
    return [*([Item(prompt, texts, tuple(votes))] if votes else []), *odd]


def _vote(answers: Sequence[_Given], names: Sequence[str], layout: Layout, counts: bool) -> Iterator[Vote]:
    name = answers[0].name and f"argilla {answers[0].name}"
    said, discarded = [], False
    for each in answers:
        status = each.status or ("submitted" if counts else None)
        if status is None:
            raise Refused(_NO_STATUS)  # some answers of the record have one
        if status not in ("submitted", "draft", "pending", *_DISCARDED):
            raise Refused(f"an answer has the status {brief(status)}")
        discarded = discarded or status in _DISCARDED
        if status == "submitted" and (one := said_of(each.question, each.value)):
            said.append(one)
    answer = answer_of(said, names, layout.roles, layout.wishes.campaign.aspects)
    if answer is not None:
        yield Vote(name, answer, scale=layout.wishes.scale)
    elif discarded:
        yield Vote(name, Answer("skip", reason="discarded in Argilla"))
    elif name and (counts or any(each.status == "submitted" for each in answers)):
        # What people without a name said to several questions cannot be joined: each answer stands alone.
        raise Refused("an answer says nothing of the responses")


def _counts(row: Row, given: Sequence[_Given], layout: Layout) -> bool:
    """Whether answers without a status were certainly submitted."""
    alone = len({each.person for each in given}) == 1
    return layout.wishes.submitted or (alone and row.get("status") == "completed")


class _Questions(Questions):
    """The questions of a file of records."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, Evidence] = defaultdict(Evidence)

    def see(self, row: Row, columns: Mapping[str, Sequence[str]]) -> None:
        try:
            names = list(fields.responses(_shown(row), columns))
        except Refused:
            return
        self.read |= dict.fromkeys([*fields.prompt_fields(_shown(row)), *names, *_TOOL])
        self.read |= {f"{name}{part}": None for name in _flat_questions(row) for part in _OF_ANSWER}
        for each in _given(row):
            if each.status not in _DISCARDED and (said := said_of(each.question, each.value)):
                self._found[each.question].add(said, names)

    def decide(self, wishes: Wishes, file: str) -> tuple[dict[str, str], dict[str, int]]:
        return decide(self._found, wishes, file), {name: each.count for name, each in self._found.items()}


def _shown(row: Row) -> Row:
    inside = row.get("fields")
    return inside if isinstance(inside, dict) else row


def _given(row: Row) -> Iterator[_Given]:
    responses = row.get("responses")
    if isinstance(responses, dict):
        for question, each in responses.items():
            yield from _by_question(question, each)
    elif isinstance(responses, list):
        for place, response in enumerate(responses):
            values = response.get("values") if isinstance(response, dict) else None
            if isinstance(response, dict):
                for question, value in (values if isinstance(values, dict) and values else {"": None}).items():
                    yield _one(response, str(place), question, value.get("value") if isinstance(value, dict) else value)
    else:
        for name, each in row.items():
            if name.endswith(_OF_ANSWER[0]) and isinstance(each, list):
                users, states = row.get(f"{name}.users") or [], row.get(f"{name}.status") or []
                for place, value in enumerate(each):
                    said = {"user_id": _at(users, place), "status": _at(states, place)}
                    yield _one(said, f"{name} {place}", name.removesuffix(".responses"), value)
            elif isinstance(each, list) and each and all(isinstance(one, dict) and "user_id" in one for one in each):
                yield from _by_question(name, each)


def _flat_questions(row: Row) -> list[str]:
    return [name.removesuffix(_OF_ANSWER[0]) for name in row if name.endswith(_OF_ANSWER[0])]


def _by_question(question: str, each: Any) -> Iterable[_Given]:
    listed = each if isinstance(each, list) else []
    return [
        _one(one, f"{question} {i}", question, one.get("value"))
        for i, one in enumerate(listed)
        if isinstance(one, dict)
    ]


def _one(said: Row, place: str, question: str, value: Any) -> _Given:
    name, status = name_of(said.get("user_id")), said.get("status")
    return _Given(f"named {name}" if name else f"unknown {place}", name, status and str(status), question, value)


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else None


FORMAT = Format(
    argilla, fields.FIELDS, identity=("id", "external_id"), shown=_shown, questions=_Questions
)  # fmt: skip
