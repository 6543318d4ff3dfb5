"""Taking judgements and withdrawing them: each function works in the writing transaction that it is given.

Everything is appended to the log of events. An answer takes the place that its lease held. One that comes after its
lease was taken back is kept as well: nobody's work is thrown away. It then takes a free place of the task, or that of
an annotator who holds a lease and has not answered yet; only where all places are judged is the task judged once more
than its overlap.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Any, Literal

import sqlalchemy as sa

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.labeling_ui import assignment, leasing, tables
from rlhf_pipeline.labeling_ui.records import Assignment, Judgement

Outcome = Literal["taken", "edited", "repeated", "answered"]
"""Taken; put in the place of an earlier one; the same key again; or an answer where there was one already."""

_Pair = tuple[str, str]


def take(connection: sa.Connection, judgements: Sequence[Judgement], now: float, time: str) -> list[Outcome]:
    """Sort out what becomes of each judgement and store what is new; `UserError` where one is impossible."""
    outcomes, new = _sort_out(connection, judgements)
    if not new:
        return outcomes
    number = _last_number(connection)
    events = [
        tables.event_row(replace(each, key=each.key or token_hex(16), created_at=each.created_at or time), number + at)
        for at, each in enumerate(new, start=1)
    ]
    connection.execute(sa.insert(tables.events), events)
    pairs = [
        {"task_id": event["task_id"], "annotator_id": event["annotator_id"], "event": event["number"]}
        for event in events
    ]
    first = [pair for pair, each in zip(pairs, new, strict=True) if each.action == "answer"]
    again = [pair for pair, each in zip(pairs, new, strict=True) if each.action == "edit"]
    if first:
        connection.execute(sa.insert(tables.judgements), first)
        _take_places(connection, first, now)
    if again:
        mine = (tables.judgements.c.task_id == sa.bindparam("of_task")) & (
            tables.judgements.c.annotator_id == sa.bindparam("by")
        )
        changes = [{"of_task": one["task_id"], "by": one["annotator_id"], "to": one["event"]} for one in again]
        connection.execute(sa.update(tables.judgements).where(mine).values(event=sa.bindparam("to")), changes)
    return outcomes


def undo(connection: sa.Connection, annotator_id: str, key: str, now: float, time: str) -> Assignment | None:
    """Withdraw the annotator's newest judgement and lease them its task again, as their first."""
    leases, judgements, events = tables.leases, tables.judgements, tables.events
    done = connection.execute(sa.select(events).where(events.c.key == key)).first()
    if done is not None:
        if done.annotator_id != annotator_id or done.action != "undo":
            raise UserError(f'the key "{key}" was used for a judgement. Reload the page and try again.')
        held = sa.select(leases.c.task_id).where(
            leases.c.annotator_id == annotator_id, leases.c.task_id == done.task_id
        )
        found = leasing.assignments_of(connection, annotator_id, connection.execute(held).scalars().all())
        return found[0] if found else None
    mine = sa.select(events).join(judgements, judgements.c.event == events.c.number)
    mine = mine.where(judgements.c.annotator_id == annotator_id).order_by(judgements.c.event.desc()).limit(1)
    row = connection.execute(mine).first()
    if row is None:
        return None
    newest = tables.judgement_of(row)
    undone = replace(newest, action="undo", key=key, created_at=time)
    connection.execute(sa.insert(events), [tables.event_row(undone, _last_number(connection) + 1)])
    ours = (judgements.c.task_id == newest.task_id) & (judgements.c.annotator_id == annotator_id)
    connection.execute(sa.delete(judgements).where(ours))
    leasing.change_taken(connection, {newest.task_id: -1})
    first = sa.select(sa.func.min(leases.c.granted)).where(leases.c.annotator_id == annotator_id)
    place = connection.execute(first).scalar() or 1
    seen = leasing.judged_assignment(connection, newest)
    leasing.lease(connection, seen.task, annotator_id, seen.campaign, now, place - 1, shown=newest.shown)
    return leasing.assignments_of(connection, annotator_id, [newest.task_id])[0]


def erase(connection: sa.Connection, annotator_id: str) -> int:
    """Delete all that the annotator said, and what was reserved for them; returns how many judgements there were."""
    leasing.release(connection, annotator_id)
    judgements = tables.judgements
    ended = sa.delete(judgements).where(judgements.c.annotator_id == annotator_id).returning(judgements.c.task_id)
    freed = connection.execute(ended).scalars().all()
    leasing.change_taken(connection, {task_id: -1 for task_id in freed})
    connection.execute(sa.delete(tables.events).where(tables.events.c.annotator_id == annotator_id))
    connection.execute(sa.delete(tables.tasks).where(tables.tasks.c.reserved_for == annotator_id))
    return len(freed)


def _sort_out(connection: sa.Connection, judgements: Sequence[Judgement]) -> tuple[list[Outcome], list[Judgement]]:
    task_ids = {judgement.task_id for judgement in judgements}
    tasks = {row.id: tables.task_of(row) for row in leasing.rows_in(connection, tables.tasks.c.id, task_ids)}
    people = {judgement.annotator_id for judgement in judgements}
    annotators = {row.id for row in leasing.rows_in(connection, tables.annotators.c.id, people)}
    campaigns = leasing.campaigns_of(connection)
    leased = leasing.rows_in(connection, tables.leases.c.task_id, task_ids)
    shown: dict[_Pair, list[str]] = {(row.task_id, row.annotator_id): row.shown for row in leased}
    keys = {judgement.key for judgement in judgements if judgement.key}
    by_key: dict[str, tuple[_Pair, str]] = {
        row.key: ((row.task_id, row.annotator_id), row.action)
        for row in leasing.rows_in(connection, tables.events.c.key, keys)
    }
    in_force = _in_force(connection, task_ids)
    outcomes: list[Outcome] = []
    new: list[Judgement] = []
    for judgement in judgements:
        if judgement.task_id not in tasks:
            raise UserError(f'there is no task "{judgement.task_id}" in this label store.')
        if judgement.annotator_id not in annotators:
            raise UserError(f'there is no annotator "{judgement.annotator_id}" in this label store. Sign in again.')
        task, pair = tasks[judgement.task_id], (judgement.task_id, judgement.annotator_id)
        if task.reserved_for not in (None, judgement.annotator_id):
            raise UserError(f"the task {task.id} is another annotator's.")
        if judgement.action not in ("answer", "edit"):
            raise UserError(f'a judgement is an answer or an edit, not "{judgement.action}".')
        is_edit = judgement.action == "edit"
        assignment.check(judgement, task, campaigns[task.campaign], in_force.get(pair) if is_edit else shown.get(pair))
        if judgement.key in by_key:
            if by_key[judgement.key] != (pair, judgement.action):
                raise UserError(f'the key "{judgement.key}" was used for another judgement. Reload the page.')
            outcomes.append("repeated")
            continue
        if is_edit and pair not in in_force:
            raise UserError(f"there is no judgement of task {task.id} to edit: it was withdrawn, or never given.")
        if not is_edit and pair in in_force:
            outcomes.append("answered")
            continue
        outcomes.append("edited" if is_edit else "taken")
        new.append(judgement)
        in_force[pair] = judgement.shown
        if judgement.key:
            by_key[judgement.key] = (pair, judgement.action)
    return outcomes, new


def _in_force(connection: sa.Connection, task_ids: set[str]) -> dict[_Pair, Sequence[str]]:
    """Who has judged which of these tasks, and in which order the responses were shown."""
    judged = {row.event: row for row in leasing.rows_in(connection, tables.judgements.c.task_id, task_ids)}
    events, found = tables.events, dict[_Pair, Sequence[str]]()
    numbers = sorted(judged)
    for start in range(0, len(numbers), 10_000):
        shown = sa.select(events.c.task_id, events.c.annotator_id, events.c.shown)
        shown = shown.where(events.c.number.in_(numbers[start : start + 10_000]))
        found |= {(row.task_id, row.annotator_id): tuple(row.shown) for row in connection.execute(shown)}
    return found


def _take_places(connection: sa.Connection, answered: Sequence[dict[str, Any]], now: float) -> None:
    """Turn leases into judgements; where there was no lease, find another place for the judgement."""
    task_ids = {each["task_id"] for each in answered}
    places: dict[str, dict[str, float]] = {}
    for row in leasing.rows_in(connection, tables.leases.c.task_id, task_ids):
        places.setdefault(row.task_id, {})[row.annotator_id] = row.leased_until
    ended: list[_Pair] = []
    change: Counter[str] = Counter()
    late = Counter[str]()
    for each in answered:
        task_id, annotator_id = each["task_id"], each["annotator_id"]
        if places.get(task_id, {}).pop(annotator_id, None) is not None:
            ended.append((task_id, annotator_id))
        else:
            late[task_id] += 1
    for row in leasing.rows_in(connection, tables.tasks.c.id, late):
        change[row.id] = late[row.id]
        # Lapsed leases give way first, then those that were given last.
        others = sorted(places.get(row.id, {}).items(), key=lambda place: (place[1] > now, -place[1]))
        surplus = row.taken + late[row.id] - row.overlap if row.gold is None else 0
        for annotator_id, _ in others[: max(surplus, 0)]:
            ended.append((row.id, annotator_id))
            change[row.id] -= 1
    if ended:
        ours = (tables.leases.c.task_id == sa.bindparam("of_task")) & (
            tables.leases.c.annotator_id == sa.bindparam("by")
        )
        connection.execute(
            sa.delete(tables.leases).where(ours), [{"of_task": task_id, "by": by} for task_id, by in ended]
        )
    leasing.change_taken(connection, {task_id: number for task_id, number in change.items() if number})


def _last_number(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(tables.events.c.number), 0))).scalar_one())
