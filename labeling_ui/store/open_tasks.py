"""Finding the next task for an annotator in the database; the rules are those of `assignment/next_task.py`.

Each function works in the transaction that it is given, which must be a writing one: a task to repeat is added here.
"""

import sqlalchemy as sa

from labeling_ui.assignment.next_task import OpenTask, at_random, mixed_in, next_task, task_to_repeat
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Task
from labeling_ui.store import tables

_SAMPLE = 100
"""Tasks to choose from; their ids are hashes, so the first of them are a sample."""
_REPEAT_FROM = 200
"""How many of an annotator's latest judgements are considered for a repeat."""

_OPEN = sa.text(tables.OPEN)
_GOLD = sa.text(tables.GOLD)


def choose_task(connection: sa.Connection, annotator_id: str, campaigns: dict[str, Campaign], turn: int) -> Task | None:
    """The next task of the first campaign that has an open one; gold tasks and repeats come only while it has."""
    for campaign in campaigns.values():
        by_priority = not at_random(campaign, annotator_id, turn)
        open_tasks = _open_tasks(connection, annotator_id, campaign.name, by_priority)
        if not open_tasks:
            continue
        extra = mixed_in(campaign, annotator_id, turn)
        if extra == "gold" and (gold := _gold_tasks(connection, annotator_id, campaign.name)):
            return _task(connection, next_task(gold, annotator_id))
        if extra == "repeat" and (again := _repeat(connection, annotator_id, campaign.name)):
            return again
        return _task(connection, next_task(open_tasks, annotator_id, by_priority))
    return None


def _not_mine(annotator_id: str) -> list[sa.ColumnElement[bool]]:
    return [
        ~sa.exists().where(table.c.task_id == tables.tasks.c.id, table.c.annotator_id == annotator_id)
        for table in (tables.judgements, tables.leases)
    ]


def _open_tasks(connection: sa.Connection, annotator_id: str, campaign: str, by_priority: bool) -> list[OpenTask]:
    """The most urgent, or just the least taken, tasks that have a place for this annotator."""
    tasks = tables.tasks.c
    first = (tasks.priority.desc(), tasks.taken, tasks.id) if by_priority else (tasks.taken, tasks.id)
    found = sa.select(tasks.id, tasks.taken, tasks.priority).where(_OPEN, tasks.campaign == campaign)
    rows = connection.execute(found.where(*_not_mine(annotator_id)).order_by(*first).limit(_SAMPLE))
    return [OpenTask(row.id, row.taken, row.priority) for row in rows]


def _gold_tasks(connection: sa.Connection, annotator_id: str, campaign: str) -> list[OpenTask]:
    """Tasks with a known answer that this annotator has not had. They have a place for everybody."""
    tasks = tables.tasks.c
    found = sa.select(tasks.id).where(_GOLD, tasks.campaign == campaign, *_not_mine(annotator_id))
    return [OpenTask(row.id) for row in connection.execute(found.order_by(tasks.id).limit(_SAMPLE))]


def _repeat(connection: sa.Connection, annotator_id: str, campaign: str) -> Task | None:
    """One of the annotator's earlier tasks to judge again, added to the store for them alone."""
    tasks, judgements = tables.tasks, tables.judgements
    waiting = sa.select(tasks.c.id).where(tasks.c.reserved_for == annotator_id, tasks.c.campaign == campaign)
    waiting = waiting.where(tasks.c.repeat_of.is_not(None))
    lapsed = connection.execute(waiting.where(*_not_mine(annotator_id)).limit(1)).scalar()
    if lapsed is not None:
        return _task(connection, lapsed)
    mine = sa.select(tasks.c.id, tasks.c.campaign, tasks.c.gold, tasks.c.repeat_of, tables.events.c.verdict)
    mine = mine.join(judgements, judgements.c.task_id == tasks.c.id)
    mine = mine.join(tables.events, tables.events.c.number == judgements.c.event)
    mine = mine.where(judgements.c.annotator_id == annotator_id).order_by(judgements.c.event.desc())
    rows = connection.execute(mine.limit(_REPEAT_FROM)).all()
    repeats = sa.select(tasks.c.repeat_of).where(tasks.c.reserved_for == annotator_id)
    never = set(connection.execute(repeats).scalars())
    for row in rows:
        if row.gold is not None or row.repeat_of is not None or row.verdict == "skip" or row.campaign != campaign:
            never.add(row.id)
    chosen = _task(connection, task_to_repeat([row.id for row in rows], never, annotator_id))
    if chosen is None:
        return None
    again = Task(chosen.prompt_id, chosen.candidates, campaign=campaign, repeat_of=chosen.id, reserved_for=annotator_id)
    added = {
        "id": again.id,
        "campaign": campaign,
        "prompt_id": again.prompt_id,
        "candidates": list(again.candidates),
        "overlap": 1,
        "repeat_of": again.repeat_of,
        "reserved_for": annotator_id,
    }
    connection.execute(sa.insert(tasks), [added])
    return again


def reversed_order(connection: sa.Connection, task: Task) -> list[str] | None:
    """For a repeat, the reverse of the order in which the annotator saw the original; None for any other task."""
    if task.repeat_of is None:
        return None
    events, judgements = tables.events, tables.judgements
    shown = sa.select(events.c.shown).join(judgements, judgements.c.event == events.c.number)
    shown = shown.where(judgements.c.task_id == task.repeat_of, judgements.c.annotator_id == task.reserved_for)
    return list(reversed(connection.execute(shown).scalar_one()))


def _task(connection: sa.Connection, task_id: str | None) -> Task | None:
    if task_id is None:
        return None
    return tables.task_of(connection.execute(sa.select(tables.tasks).where(tables.tasks.c.id == task_id)).one())
