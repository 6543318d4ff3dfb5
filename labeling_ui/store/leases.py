"""Handing out tasks: each function works in the transaction that it is given, which must be a writing one.

A lease holds one of a task's places for an annotator until it lapses. Lapsed leases of others are taken back whenever
a task is handed out; one's own is renewed. A server clock that was put back leaves leases that end too late: they are
shortened to their length from now on. Which task is next is a rule of `assignment.py`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.campaigns import assignment
from labeling_ui.campaigns.assignment import OpenTask
from labeling_ui.campaigns.campaign import Campaign
from labeling_ui.records import Assignment, Judgement, Task
from labeling_ui.store import tables

_LOOK = 100
"""Tasks to choose from; their ids are hashes, so the first of them are a sample."""
_REPEAT_FROM = 200
"""How far back an annotator's tasks may be shown again."""

_OPEN = sa.text(tables.OPEN)
_GOLD = sa.text(tables.GOLD)


def hand_out(connection: sa.Connection, annotator_id: str, count: int, now: float) -> list[Assignment]:
    """The annotator's leased tasks in the order they were given, topped up to `count`, and leased from now on."""
    leases = tables.leases
    done = judged_by(connection, annotator_id)
    campaigns = campaigns_of(connection)
    _take_back(connection, annotator_id, campaigns, now)
    mine = sa.select(leases.c.task_id, leases.c.granted).where(leases.c.annotator_id == annotator_id)
    held = connection.execute(mine.order_by(leases.c.granted)).all()
    place = held[-1].granted if held else 0
    for turn in range(done + len(held), done + count):
        task = _choose(connection, annotator_id, campaigns, turn)
        if task is None:
            break
        place += 1
        shown = _reversed_order(connection, task) or assignment.order(task, annotator_id)
        lease(connection, task, annotator_id, campaigns[task.campaign], now, place, shown)
    kept = [row.task_id for row in held[:count]]
    if kept:
        ours = (leases.c.annotator_id == annotator_id) & leases.c.task_id.in_(kept)
        connection.execute(sa.update(leases).where(ours).values(leased_until=now + leases.c.lasts))
    return leased_to(connection, annotator_id, campaigns, count)


def lease(
    connection: sa.Connection, task: Task, annotator_id: str, campaign: Campaign, now: float, place: int,
    shown: Sequence[str], undone: int | None = None,
) -> None:  # fmt: skip
    """Give one of the task's places to the annotator; `place` says where among their tasks it comes."""
    lasts = campaign.lease_minutes * 60
    row = {"task_id": task.id, "annotator_id": annotator_id, "shown": list(shown), "granted": place, "undone": undone}
    connection.execute(sa.insert(tables.leases), [{**row, "leased_until": now + lasts, "lasts": lasts}])
    change_taken(connection, {task.id: 1})


def leased_to(
    connection: sa.Connection, annotator_id: str, campaigns: dict[str, Campaign], count: int | None = None
) -> list[Assignment]:
    """The tasks that the annotator holds (the first so many), with what they had said of them before an undo."""
    leases, events = tables.leases, tables.events
    held = sa.select(leases.c.task_id.label("leased"), leases.c.shown.label("seen"), events)
    held = held.outerjoin(events, events.c.number == leases.c.undone).where(leases.c.annotator_id == annotator_id)
    rows = connection.execute(held.order_by(leases.c.granted).limit(count)).all()
    shown = {row.leased: row.seen for row in rows}
    before = {row.leased: tables.judgement_of(row) for row in rows if row.number is not None}
    return list(_assignments(connection, annotator_id, campaigns, shown, before))


def release(connection: sa.Connection, annotator_id: str) -> None:
    """Give back every place that the annotator holds."""
    leases = tables.leases
    ended = sa.delete(leases).where(leases.c.annotator_id == annotator_id).returning(leases.c.task_id)
    change_taken(connection, {task_id: -1 for task_id in connection.execute(ended).scalars().all()})


def change_taken(connection: sa.Connection, changes: dict[str, int]) -> None:
    """Keep the tasks' counters in step with their leases and judgements."""
    if not changes:
        return
    counted = sa.update(tables.tasks).where(tables.tasks.c.id == sa.bindparam("of_task"))
    counted = counted.values(taken=tables.tasks.c.taken + sa.bindparam("change"))
    connection.execute(counted, [{"of_task": task_id, "change": change} for task_id, change in changes.items()])


def campaigns_of(connection: sa.Connection) -> dict[str, Campaign]:
    """All campaigns by name, in the order of their names."""
    rows = connection.execute(sa.select(tables.campaigns).order_by(tables.campaigns.c.name))
    return {row.name: Campaign.model_validate(row.settings) for row in rows}


def judged_assignment(connection: sa.Connection, judgement: Judgement) -> Assignment:
    """A judged task as its annotator saw it."""
    shown, before = {judgement.task_id: judgement.shown}, {judgement.task_id: judgement}
    (found,) = _assignments(connection, judgement.annotator_id, campaigns_of(connection), shown, before)
    return found


def rows_in(
    connection: sa.Connection, column: sa.Column[Any], values: Iterable[str], rows: sa.Select[Any] | None = None
) -> Iterator[sa.Row[Any]]:
    """All rows of the column's table (or of the statement `rows`) where the column is among `values`."""
    wanted = sorted(set(values))
    rows = sa.select(column.table) if rows is None else rows
    for start in range(0, len(wanted), 10_000):  # SQLite takes 32,766 parameters a statement
        yield from connection.execute(rows.where(column.in_(wanted[start : start + 10_000])))


def judged_by(connection: sa.Connection, annotator_id: str) -> int:
    """How many judgements of the annotator are in force; `UserError` where there is no such annotator."""
    judgements, annotators = tables.judgements, tables.annotators
    number = sa.select(sa.func.count()).where(judgements.c.annotator_id == annotator_id).scalar_subquery()
    found = connection.execute(sa.select(number).where(annotators.c.id == annotator_id)).first()
    if found is None:
        raise UserError(f'there is no annotator "{annotator_id}" in this label store. Sign in again.')
    return int(found[0])


def _assignments(
    connection: sa.Connection, annotator_id: str, campaigns: dict[str, Campaign],
    shown: Mapping[str, Sequence[str]], before: Mapping[str, Judgement],
) -> Iterator[Assignment]:  # fmt: skip
    """Each task with its prompt and its candidates, as they are shown."""
    found = rows_in(connection, tables.candidates.c.id, (one for ids in shown.values() for one in ids))
    candidates = {row.id: tables.candidate_of(row) for row in found}
    tasks = {row.id: tables.task_of(row) for row in rows_in(connection, tables.tasks.c.id, shown)}
    asked = rows_in(connection, tables.prompts.c.id, (task.prompt_id for task in tasks.values()))
    prompts = {row.id: tables.prompt_of(row) for row in asked}
    for task_id, ids in shown.items():
        task = tasks[task_id]
        responses = tuple(candidates[one] for one in ids)
        campaign, prompt = campaigns[task.campaign], prompts[task.prompt_id]
        yield Assignment(task, annotator_id, campaign, prompt, responses, before.get(task_id))


def _take_back(connection: sa.Connection, annotator_id: str, campaigns: dict[str, Campaign], now: float) -> None:
    """End the lapsed leases of everybody else, and shorten those that a clock put back has made too long."""
    leases = tables.leases
    longest = max((campaign.lease_minutes * 60 for campaign in campaigns.values()), default=0.0)
    found = sa.select(leases.c.task_id).where((leases.c.leased_until <= now) | (leases.c.leased_until > now + longest))
    if connection.execute(found.limit(1)).first() is None:
        return
    lapsed = (leases.c.leased_until <= now) & (leases.c.annotator_id != annotator_id)
    too_long = leases.c.leased_until > now + leases.c.lasts
    freed = Counter(connection.execute(sa.delete(leases).where(lapsed).returning(leases.c.task_id)).scalars())
    change_taken(connection, {task_id: -number for task_id, number in freed.items()})
    connection.execute(sa.update(leases).where(too_long).values(leased_until=now + leases.c.lasts))


def _choose(connection: sa.Connection, annotator_id: str, campaigns: dict[str, Campaign], turn: int) -> Task | None:
    """The next task of the first campaign that has one; what is mixed in comes only as long as it has."""
    for campaign in campaigns.values():
        by_priority = not assignment.at_random(campaign, annotator_id, turn)
        open_tasks = _open_tasks(connection, annotator_id, campaign.name, by_priority)
        if not open_tasks:
            continue
        extra = assignment.mixed_in(campaign, annotator_id, turn)
        if extra == "gold" and (gold := _gold_tasks(connection, annotator_id, campaign.name)):
            return _task(connection, assignment.next_task(gold, annotator_id))
        if extra == "repeat" and (again := _repeat(connection, annotator_id, campaign.name)):
            return again
        return _task(connection, assignment.next_task(open_tasks, annotator_id, by_priority))
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
    rows = connection.execute(found.where(*_not_mine(annotator_id)).order_by(*first).limit(_LOOK))
    return [OpenTask(row.id, row.taken, row.priority) for row in rows]


def _gold_tasks(connection: sa.Connection, annotator_id: str, campaign: str) -> list[OpenTask]:
    """Tasks with a known answer that this annotator has not had. They have a place for everybody."""
    tasks = tables.tasks.c
    found = sa.select(tasks.id).where(_GOLD, tasks.campaign == campaign, *_not_mine(annotator_id))
    return [OpenTask(row.id) for row in connection.execute(found.order_by(tasks.id).limit(_LOOK))]


def _repeat(connection: sa.Connection, annotator_id: str, campaign: str) -> Task | None:
    """An own earlier task to judge again, added to the store for this annotator alone."""
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
    chosen = _task(connection, assignment.repeat([row.id for row in rows], never, annotator_id))
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


def _reversed_order(connection: sa.Connection, task: Task) -> list[str] | None:
    """For a repeat, the other way round than the annotator saw the original."""
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
