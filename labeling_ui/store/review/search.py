"""Pages of tasks for a lead: by text, campaign, annotator, verdict, time, state, disagreement, and flags.

Each page begins where the one before ended, at a key that an index holds (`Cursor`), so that the last page of 100,000
tasks costs what the first one does. A condition that few rows meet is looked up from those rows; otherwise tasks are
looked through in order until a page is full, or `seconds` are over: then the page says so, and the next one goes on
from there. Everything runs in the reading transaction that it is given.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from labeling_ui.data_model import TaskState, Verdict
from labeling_ui.store import tables

PAGE = 25
FEW = 2000
"""So many rows that meet a condition are looked up by their ids; more will soon be met in the order of tasks."""
SECONDS = 0.4
_STEPS = (500, 2000, 8000)
_ESCAPE = "!"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks to show: all conditions hold. `since` and `until` are times of judgements in force, in ISO 8601.

    `annotator` (an id), `verdict`, `since` and `until` hold of one and the same judgement. Divided tasks come with
    those first whose answers are furthest from one another, others with the latest answer first.
    """

    text: str = ""
    campaign: str | None = None
    annotator: str | None = None
    verdict: Verdict | None = None
    state: TaskState | None = None
    since: str | None = None
    until: str | None = None
    divided: bool = False
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after a task in the order of tasks: what it is sorted by, and its id."""

    value: float
    task_id: str

    def __str__(self) -> str:
        return f"{self.value!r}~{self.task_id}"

    @classmethod
    def read(cls, text: str | None) -> "Cursor | None":
        """The cursor that was written so; None for anything else."""
        value, _, task_id = (text or "").partition("~")
        try:
            return cls(float(value), task_id) if task_id else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Page:
    """The ids of tasks found, and where the next page begins; None if there is none.

    `searched_all` is False if time was over before the page was full: there may be more after `following`.
    """

    task_ids: Sequence[str]
    following: Cursor | None
    searched_all: bool = True


def find_tasks(
    connection: sa.Connection, wanted: Wanted, after: Cursor | None = None, count: int = PAGE,
    seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic,
) -> Page:  # fmt: skip
    """The next `count` tasks that are wanted, after a cursor."""
    began, tasks = clock(), tables.tasks.c
    key = tasks.disagreement if wanted.divided else tasks.activity
    along, conditions = _along(connection, wanted), _conditions(wanted)
    few = _few(connection, wanted)
    found: list[Any] = []
    step = 0
    while True:
        here = _after(key, after)
        edge = None
        if few is None:
            ends = _in_order(key, along, here).offset(_STEPS[min(step, len(_STEPS) - 1)] - 1).limit(1)
            edge = connection.execute(ends).first()
        part = [] if edge is None else [_until(key, edge)]
        rows = _in_order(key, along, here).where(*part, *conditions, *([] if few is None else [few]))
        found += connection.execute(rows.limit(count + 1 - len(found))).all()
        if len(found) > count:
            last = found[count - 1]
            return Page([row.id for row in found[:count]], Cursor(float(last.key), last.id))
        if edge is None:
            return Page([row.id for row in found], None)
        after, step = Cursor(float(edge.key), edge.id), step + 1
        if clock() - began > seconds:
            return Page([row.id for row in found], after, searched_all=False)


def _in_order(key: sa.Column[Any], along: Sequence[Any], here: Sequence[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    found = sa.select(tables.tasks.c.id, key.label("key")).where(*here, *along)
    return found.order_by(key.desc(), tables.tasks.c.id)


def _along(connection: sa.Connection, wanted: Wanted) -> list[Any]:
    """What holds of all tasks of an index, or of the first ones in it: no other task is looked at."""
    tasks, events = tables.tasks.c, tables.events.c
    if wanted.divided:
        return [sa.text(tables.DIVIDED)]
    found: list[Any] = []
    if wanted.state not in (None, "open"):
        found += [sa.text(tables.NOT_OPEN), tasks.state == wanted.state]
    elif wanted.flagged:
        found.append(sa.text(tables.FLAGGED))
    if wanted.since is not None:
        # Numbers follow the order of arrival: a task whose newest event came before cannot have one since.
        later = sa.select(events.number).where(events.created_at >= wanted.since).subquery()
        first = connection.execute(sa.select(sa.func.min(later.c.number))).scalar_one()
        found.append(sa.false() if first is None else tasks.activity >= first)
    elif wanted.annotator is not None or wanted.verdict is not None or wanted.until is not None:
        found.append(tasks.activity > 0)
    return found


def _after(key: sa.Column[Any], cursor: Cursor | None) -> list[sa.ColumnElement[bool]]:
    if cursor is None:
        return []
    return [key <= cursor.value, (key < cursor.value) | (tables.tasks.c.id > cursor.task_id)]


def _until(key: sa.Column[Any], edge: Any) -> sa.ColumnElement[bool]:
    return sa.or_(key > edge.key, sa.and_(key == edge.key, tables.tasks.c.id <= edge.id))


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    tasks, judgements, events = tables.tasks.c, tables.judgements.c, tables.events.c
    found: list[sa.ColumnElement[bool]] = []
    if wanted.campaign is not None:
        found.append(tasks.campaign == wanted.campaign)
    if wanted.state is not None:
        found.append(tasks.state == wanted.state)
    if wanted.flagged:
        found.append(tasks.flagged)
    said = [] if wanted.verdict is None else [events.verdict == wanted.verdict]
    said += [] if wanted.since is None else [events.created_at >= wanted.since]
    said += [] if wanted.until is None else [events.created_at < wanted.until]
    if wanted.annotator is not None or said:
        one = sa.select(sa.literal(1)).where(judgements.task_id == tasks.id)
        if wanted.annotator is not None:
            one = one.where(judgements.annotator_id == wanted.annotator)
        if said:
            one = one.join(tables.events, events.number == judgements.event).where(*said)
        found.append(one.correlate(tables.tasks).exists())
    return found + ([_shows(wanted.text)] if wanted.text else [])


def _few(connection: sa.Connection, wanted: Wanted) -> sa.ColumnElement[bool] | None:
    """That a task is one of a few, if a condition says so by itself; None if too many meet each."""
    tasks, judgements, events = tables.tasks.c, tables.judgements.c, tables.events.c
    if wanted.text:
        ids = _texts(connection, wanted.text)
        if ids is not None:
            return tasks.prompt_id.in_(ids[0]) | tasks.id.in_(ids[1])
    if wanted.annotator is not None:
        theirs = sa.select(judgements.task_id).where(judgements.annotator_id == wanted.annotator)
        found = _some(connection, theirs)
        if found is not None:
            return tasks.id.in_(found)
    if wanted.verdict is not None:
        found = _some(connection, sa.select(events.task_id).where(events.verdict == wanted.verdict))
        if found is not None:
            return tasks.id.in_(found)
    return None


def _some(connection: sa.Connection, ids: sa.Select[Any]) -> list[str] | None:
    """The ids, without doubles; None if there are more than a few."""
    found = connection.execute(ids.limit(FEW + 1)).scalars().all()
    return None if len(found) > FEW else sorted(set(found))


def _texts(connection: sa.Connection, text: str) -> tuple[list[str], list[str]] | None:
    """The ids of the prompts that the text is in, or in a response to, and of tasks on which it was written.

    None as soon as one of the three has too many; responses, which are most of a store, are not gone through first.
    """
    candidates, prompts, events = tables.candidates.c, tables.prompts.c, tables.events.c
    found: list[list[str]] = []
    for ids in (
        sa.select(events.task_id).where(_written(text)),
        sa.select(candidates.prompt_id).where(_has(candidates.response, text)),
        sa.select(prompts.id).where(_has_json(prompts.messages, text)),
    ):
        some = _some(connection, ids)
        if some is None:
            return None
        found.append(some)
    written, answered, asked = found
    return sorted({*answered, *asked}), written


def _shows(text: str) -> sa.ColumnElement[bool]:
    """Whether the text stands in a task's prompt, in one of its responses, or in what was written about it."""
    tasks, candidates, prompts = tables.tasks.c, tables.candidates.c, tables.prompts.c
    judgements, events = tables.judgements.c, tables.events.c
    asked = sa.exists().where(prompts.id == tasks.prompt_id, _has_json(prompts.messages, text))
    its_own = _position(sa.cast(tasks.candidates, sa.Text), candidates.id)
    answered = sa.exists().where(candidates.prompt_id == tasks.prompt_id, _has(candidates.response, text), its_own)
    written = sa.exists().where(judgements.task_id == tasks.id, events.number == judgements.event, _written(text))
    return asked | answered | written


def _written(text: str) -> sa.ColumnElement[bool]:
    answer = tables.events.c.answer
    parts = [_has(sa.func.coalesce(answer[name].as_string(), ""), text) for name in ("rationale", "reason", "rewrite")]
    return _has_json(answer, text) & sa.or_(*parts)


def _has(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """Whether the column has the text in it, whatever the case of its letters from A to Z."""
    return _Folded(column).like(_pattern(_lower(text)), escape=_ESCAPE)


def _has_json(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """The same of a column of JSON, in which other letters are escaped."""
    return _Folded(sa.cast(column, sa.Text)).like(_pattern(json.dumps(text)[1:-1].lower()), escape=_ESCAPE)


def _pattern(text: str) -> str:
    literally = re.sub(f"([%_{_ESCAPE}])", rf"{_ESCAPE}\1", text)
    return f"%{literally}%"


def _position(column: sa.ColumnElement[Any], part: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return _Position(column, part) > 0


def _lower(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


class _Position(sa.sql.functions.GenericFunction[int]):
    """Where a text stands in another, from 1; 0 if it does not: `instr` of SQLite, `strpos` of PostgreSQL."""

    name = "instr"
    inherit_cache = True
    type = sa.Integer()


@compiles(_Position, "postgresql")
def _strpos(element: Any, compiler: Any, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


class _Folded(sa.sql.functions.GenericFunction[str]):
    """A text for LIKE, with the letters from A to Z in lower case and every other as it is.

    SQLite's LIKE compares so by itself, three times as fast as `instr` and `lower`. PostgreSQL goes through a table in
    parallel for LIKE, and not for `strpos`; its own collation would turn all letters of the world, at several times the
    cost, and miss what is written with them in `_lower`.
    """

    name = "folded"
    inherit_cache = True
    type = sa.Text()


@compiles(_Folded)
def _as_it_is(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(_Folded, "postgresql")
def _lowered(element: Any, compiler: Any, **options: Any) -> str:
    return f'lower(({compiler.process(element.clauses, **options)}) COLLATE "C")'
