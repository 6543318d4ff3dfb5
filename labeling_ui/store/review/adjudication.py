"""A reviewer's answer decides a task: what they say replaces the votes of annotators wherever labels are used.

It is an event of the log like every answer, and no judgement of an annotator: agreement and skill know nothing of it. A
task that is decided is asked no more; if the decision is withdrawn, it is open again, and all votes count as before.
Each function works in the transaction that it is given.
"""

from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import check_judgement
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement, Task
from labeling_ui.store import tables
from labeling_ui.store.campaigns import Version, versions_of
from labeling_ui.store.review.changes import as_asked, end_leases, find_task
from labeling_ui.store.review.standing import refresh

LAST = sa.select(sa.func.coalesce(sa.func.max(tables.events.c.number), 0))
"""The number of the newest event, 0 if there is none."""


def adjudicate(connection: sa.Connection, task_id: str, reviewer_id: str, answer: Answer, time: str) -> Judgement:
    """Let the reviewer's answer decide the task; it takes the place of an earlier decision. Returns the event.

    `UserError` for a task that nobody is to decide (a verdict's, with a known answer, shown again, removed), and for an
    answer that does not fit, or is none.
    """
    task, version = _decidable(connection, task_id)
    check_answer(task, version.campaign, answer)
    said = Judgement(
        task.id, reviewer_id, task.candidates, answer, created_at=time, key=token_hex(16), action="adjudicate"
    )
    number = last_number(connection) + 1
    connection.execute(sa.insert(tables.events), [tables.event_row(said, number, version.number)])
    point_to(connection, {task.id: number})
    end_leases(connection, [task.id])
    refresh(connection, {task.id: number}, {(task.campaign, task.version): version})
    return said


def reopen(connection: sa.Connection, task_id: str, reviewer_id: str, time: str) -> None:
    """Withdraw the decision on a task: annotators' votes count again. `UserError` if there is none."""
    task, version = _decidable(connection, task_id)
    there = decisions(connection, [task.id])
    if not there:
        raise UserError(f"the task {task.id} was not decided by a reviewer, so there is nothing to withdraw.")
    undone = replace(
        there[0], annotator_id=reviewer_id, action="reopen", created_at=time, key=token_hex(16), shown=task.candidates
    )
    number = last_number(connection) + 1
    connection.execute(sa.insert(tables.events), [tables.event_row(undone, number, version.number)])
    point_to(connection, {task.id: None})
    refresh(connection, {task.id: number}, {(task.campaign, task.version): version})


def reopen_all(connection: sa.Connection, reviewer_id: str) -> None:
    """Let go of every decision of a reviewer whose events are about to be deleted."""
    events, adjudications = tables.events, tables.adjudications
    theirs = sa.select(adjudications.c.task_id).join(events, events.c.number == adjudications.c.event)
    found = connection.execute(theirs.where(events.c.annotator_id == reviewer_id)).scalars().all()
    point_to(connection, dict.fromkeys(found))


def decisions(connection: sa.Connection, task_ids: Sequence[str] | None = None) -> list[Judgement]:
    """The decisions in force (on these tasks), in the order of their arrival."""
    events, adjudications = tables.events, tables.adjudications
    said = sa.select(events).join(adjudications, adjudications.c.event == events.c.number).order_by(events.c.number)
    if task_ids is not None:
        said = said.where(adjudications.c.task_id.in_(task_ids))
    return [tables.judgement_of(row) for row in connection.execute(said)]


def point_to(connection: sa.Connection, decided: dict[str, int | None]) -> None:
    """Let these events decide their tasks, or nothing; a task that was removed stays removed."""
    if not decided:
        return
    tasks, adjudications = tables.tasks, tables.adjudications
    gone = sa.delete(adjudications).where(adjudications.c.task_id == sa.bindparam("of_task"))
    connection.execute(gone, [{"of_task": task_id} for task_id in decided])
    rows = [{"task_id": task_id, "event": number} for task_id, number in decided.items() if number is not None]
    if rows:
        connection.execute(sa.insert(adjudications), rows)
    state = sa.update(tasks).where(tasks.c.id == sa.bindparam("of_task"), tasks.c.state != "removed")
    changed = [
        {"of_task": task_id, "to": "open" if number is None else "decided"} for task_id, number in decided.items()
    ]
    connection.execute(state.values(state=sa.bindparam("to")), changed)


def check_answer(task: Task, campaign: Campaign, answer: Answer) -> None:
    """Raise `UserError` if the answer cannot decide the task."""
    check_judgement(Judgement(task.id, "", task.candidates, answer), task, campaign)
    if answer.verdict == "skip":
        raise UserError("a skip decides nothing. Remove the task if nobody can judge it.")


def last_number(connection: sa.Connection) -> int:
    """The number of the newest event, 0 if there is none."""
    return int(connection.execute(LAST).scalar_one())


def _decidable(connection: sa.Connection, task_id: str) -> tuple[Task, Version]:
    task = find_task(connection, task_id)
    version = versions_of(connection)[task.campaign, task.version]
    as_asked(task, version.campaign)
    if task.gold is not None:
        raise UserError(
            f"the answer to the task {task.id} is known, and it is in no export: there is nothing to decide."
        )
    if task.repeat_of is not None:
        raise UserError(f"the task {task.id} shows the task {task.repeat_of} again: decide that one.")
    if task.state == "removed":
        raise UserError(f"the task {task.id} is removed. Restore it first.")
    return task, version
