"""Finding the next task for an annotator in the database; the rules are those of `assignment/next_task.py`.

Each function works in the transaction that it is given, which must be a writing one: a task to repeat is added here.
"""

from dataclasses import replace

import sqlalchemy as sa

from labeling_ui.assignment.next_task import OpenTask, at_random, mixed_in, next_task, task_to_repeat
from labeling_ui.data_model import Task
from labeling_ui.store import tables
from labeling_ui.store.campaigns import Version

_SAMPLE = 100
"""Tasks to choose from; their ids are hashes, so the first of them are a sample."""
_REPEAT_FROM = 200
"""How many of an annotator's latest judgements are considered for a repeat."""

_OPEN = sa.text(tables.OPEN)
_FOR_REVIEW = sa.text(tables.FOR_REVIEW)
_GOLD = sa.text(tables.GOLD)


def choose_task(
    connection: sa.Connection, annotator_id: str, campaigns: dict[str, Version], turn: int, reviews: bool
) -> Task | None:
    """The next task of the first campaign that has an open one; gold tasks and repeats come only while it has.

    Whoever `reviews` is also given what too many have skipped. All kinds of task are looked for every time, so that
    neither an order nor a delay tells which kind comes.
    """
    for now in campaigns.values():
        campaign = now.campaign
        by_priority = not at_random(campaign, annotator_id, turn)
        open_tasks = _open_tasks(connection, annotator_id, now, by_priority, _OPEN)
        if reviews:
            open_tasks += _open_tasks(connection, annotator_id, now, by_priority, _FOR_REVIEW)
        if not open_tasks:
            continue
        found = {
            None: next_task(open_tasks, annotator_id, by_priority),
            "gold": next_task(_gold_tasks(connection, annotator_id, now), annotator_id),
            "repeat": _repeat(connection, annotator_id, now),
        }
        drawn = mixed_in(campaign, annotator_id, turn)
        task = _task(connection, found[drawn] or found[None])
        return _again(connection, task, annotator_id) if drawn == "repeat" and found[drawn] == task.id else task
    return None


def _not_mine(annotator_id: str) -> list[sa.ColumnElement[bool]]:
    return [
        ~sa.exists().where(table.c.task_id == tables.tasks.c.id, table.c.annotator_id == annotator_id)
        for table in (tables.judgements, tables.leases)
    ]


def _of(version: Version) -> tuple[sa.ColumnElement[bool], ...]:
    tasks = tables.tasks.c
    return tasks.campaign == version.campaign.name, tasks.version == version.version


def _open_tasks(
    connection: sa.Connection, annotator_id: str, version: Version, by_priority: bool, condition: sa.TextClause
) -> list[OpenTask]:
    """The most urgent, or just the least taken, tasks that have a place for this annotator."""
    tasks = tables.tasks.c
    first = (tasks.priority.desc(), tasks.taken, tasks.id) if by_priority else (tasks.taken, tasks.id)
    found = sa.select(tasks.id, tasks.taken, tasks.priority).where(condition, *_of(version))
    rows = connection.execute(found.where(*_not_mine(annotator_id)).order_by(*first).limit(_SAMPLE))
    return [OpenTask(row.id, row.taken, row.priority) for row in rows]


def _gold_tasks(connection: sa.Connection, annotator_id: str, version: Version) -> list[OpenTask]:
    """Tasks with a known answer that this annotator has not had. They have a place for everybody."""
    tasks = tables.tasks.c
    found = sa.select(tasks.id).where(_GOLD, *_of(version), *_not_mine(annotator_id))
    return [OpenTask(row.id) for row in connection.execute(found.order_by(tasks.id).limit(_SAMPLE))]


def _repeat(connection: sa.Connection, annotator_id: str, version: Version) -> str | None:
    """One of the annotator's earlier tasks to judge again, or a repeat of theirs whose lease has lapsed."""
    tasks, judgements = tables.tasks, tables.judgements
    waiting = sa.select(tasks.c.id).where(tasks.c.reserved_for == annotator_id, *_of(version))
    waiting = waiting.where(tasks.c.repeat_of.is_not(None))
    lapsed = connection.execute(waiting.where(*_not_mine(annotator_id)).limit(1)).scalar()
    mine = sa.select(tasks.c.id, tasks.c.campaign, tasks.c.version, tasks.c.gold, tasks.c.repeat_of)
    mine = mine.add_columns(tables.events.c.verdict).join(judgements, judgements.c.task_id == tasks.c.id)
    mine = mine.join(tables.events, tables.events.c.number == judgements.c.event)
    mine = mine.where(judgements.c.annotator_id == annotator_id).order_by(judgements.c.event.desc())
    rows = connection.execute(mine.limit(_REPEAT_FROM)).all()
    repeats = sa.select(tasks.c.repeat_of).where(tasks.c.reserved_for == annotator_id)
    never = set(connection.execute(repeats).scalars())
    here = (version.campaign.name, version.version)
    for row in rows:
        if row.gold is not None or row.repeat_of is not None or row.verdict == "skip":
            never.add(row.id)
        if (row.campaign, row.version) != here:
            never.add(row.id)
    return lapsed or task_to_repeat([row.id for row in rows], never, annotator_id)


def _again(connection: sa.Connection, task: Task, annotator_id: str) -> Task:
    """The task as a repeat, added to the store for this annotator alone if it is not one already."""
    if task.repeat_of is not None:
        return task
    again = replace(task, repeat_of=task.id, reserved_for=annotator_id, id="")
    connection.execute(sa.insert(tables.tasks), [tables.task_row(again, overlap=1)])
    return again


def reversed_order(connection: sa.Connection, task: Task) -> list[str] | None:
    """For a repeat, the reverse of the order in which the annotator saw the original; None for any other task."""
    if task.repeat_of is None:
        return None
    events, judgements = tables.events, tables.judgements
    shown = sa.select(events.c.shown).join(judgements, judgements.c.event == events.c.number)
    shown = shown.where(judgements.c.task_id == task.repeat_of, judgements.c.annotator_id == task.reserved_for)
    return list(reversed(connection.execute(shown).scalar_one()))


def _task(connection: sa.Connection, task_id: str | None) -> Task:
    return tables.task_of(connection.execute(sa.select(tables.tasks).where(tables.tasks.c.id == task_id)).one())
