"""Pausing, removing and restoring tasks. Whatever was said of them stays, and so does who changed what, and when.

A paused task is not asked; a removed one is left out of exports and figures as well. What is on somebody's screen can
still be answered, and the answer is kept. Each function works in the writing transaction that it is given.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import check_text
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Task, TaskState
from labeling_ui.store import tables
from labeling_ui.store.campaigns import campaigns_of
from labeling_ui.store.database import rows_in
from labeling_ui.store.leases import change_taken

Change = Literal["pause", "resume", "remove", "restore"]
LONGEST_REASON = 1000
"""Characters."""

_FROM: dict[Change, tuple[TaskState, ...]] = {
    "pause": ("open",), "resume": ("paused",), "remove": ("open", "paused", "decided"), "restore": ("removed",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaskChange:
    """One entry of the log of changes."""

    task_id: str
    person_id: str
    change: str
    reason: str
    created_at: str


def change_tasks(
    connection: sa.Connection, task_ids: Sequence[str], change: Change, person_id: str, reason: str, time: str
) -> list[str]:
    """Change these tasks and the repeats of them; returns the ids of those that were in a state to be changed.

    `UserError` if a task is not there, or of a verdict: what is left out of one after a look would decide it. So for a
    repeat that is restored without the task that it shows again.
    """
    if change not in get_args(Change):
        raise UserError(f'"{change}" is no change of a task: choose {", ".join(get_args(Change))}.')
    check_text(reason, "the reason")
    if len(reason) > LONGEST_REASON:
        raise UserError(f"the reason has {len(reason)} characters: up to {LONGEST_REASON} can be kept.")
    campaigns = campaigns_of(connection)
    named = [find_task(connection, task_id) for task_id in dict.fromkeys(task_ids)]
    for task in named:
        as_asked(task, campaigns[task.campaign].campaign)
    repeats = rows_in(connection, tables.tasks.c.repeat_of, (task.id for task in named))
    both = {task.id: task for task in [*named, *map(tables.task_of, repeats)]}
    changed = [task for task in both.values() if task.state in _FROM[change]]
    if change == "restore":
        _check_originals(connection, changed)
    ids = [task.id for task in changed]
    decided = {row.task_id for row in rows_in(connection, tables.adjudications.c.task_id, ids)}
    target: dict[Change, TaskState] = {"pause": "paused", "resume": "open", "remove": "removed"}
    rows = [{"of_task": each, "to": target.get(change) or ("decided" if each in decided else "open")} for each in ids]
    if rows:
        state = sa.update(tables.tasks).where(tables.tasks.c.id == sa.bindparam("of_task"))
        connection.execute(state.values(state=sa.bindparam("to")), rows)
        _write_down(connection, ids, change, person_id, reason, time)
    if change in ("pause", "remove"):
        end_leases(connection, ids)
    return ids


def changes_of(connection: sa.Connection, task_id: str) -> list[TaskChange]:
    """What was done to a task, in order."""
    log = tables.task_changes
    found = sa.select(log).where(log.c.task_id == task_id).order_by(log.c.number)
    return [
        TaskChange(row.task_id, row.person_id, row.change, row.reason, row.created_at)
        for row in connection.execute(found)
    ]


def end_leases(connection: sa.Connection, task_ids: Sequence[str]) -> None:
    """Take tasks back from whoever holds them; an answer that is on its way is kept."""
    leases = tables.leases
    held = Counter(row.task_id for row in rows_in(connection, leases.c.task_id, task_ids))
    if held:
        connection.execute(sa.delete(leases).where(leases.c.task_id.in_(sorted(held))))
        change_taken(connection, {task_id: -number for task_id, number in held.items()})


def find_task(connection: sa.Connection, task_id: str) -> Task:
    """The task; `UserError` if there is none of that id."""
    row = connection.execute(sa.select(tables.tasks).where(tables.tasks.c.id == task_id)).first()
    if row is None:
        raise UserError(f'there is no task "{task_id}" in this label store.')
    return tables.task_of(row)


def as_asked(task: Task, campaign: Campaign) -> None:
    """Raise `UserError` for a task of a verdict, which stays as it was asked."""
    if campaign.is_verdict:
        raise UserError(
            f"the task {task.id} is part of a verdict on a policy, which people decide blind: nobody may choose what "
            "counts in it. Close the verdict instead, and begin another."
        )


def _check_originals(connection: sa.Connection, restored: Sequence[Task]) -> None:
    """Raise `UserError` for a repeat of a task that stays removed: no export could hold the one without the other."""
    ids = {task.id for task in restored}
    repeated = {task.repeat_of: task for task in restored if task.repeat_of is not None and task.repeat_of not in ids}
    for row in rows_in(connection, tables.tasks.c.id, repeated):
        if row.state == "removed":
            raise UserError(
                f"the task {repeated[row.id].id} shows the task {row.id} again, which is removed: restore that one, "
                "and both come back."
            )


def _write_down(
    connection: sa.Connection, task_ids: Sequence[str], change: Change, person_id: str, reason: str, time: str
) -> None:
    log = tables.task_changes
    last = int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(log.c.number), 0))).scalar_one())
    rows = [
        {
            "number": number, "task_id": task_id, "person_id": person_id, "change": change, "reason": reason,
            "created_at": time,
        }
        for number, task_id in enumerate(task_ids, start=last + 1)
    ]  # fmt: skip
    connection.execute(sa.insert(log), rows)
