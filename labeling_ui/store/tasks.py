"""Adding prompts, candidates and tasks, and saying what is urgent: each function works in a writing transaction.

Ids are hashes of the content, so that adding a record twice adds nothing.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import check_task
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Prompt, Task
from labeling_ui.store import tables
from labeling_ui.store.campaigns import add_campaign, campaigns_of
from labeling_ui.store.database import insert_new, rows_in
from labeling_ui.store.review.standing import naming_their_model

_FIRST = "a candidate needs its prompt, and a task its prompt and its candidates, in the store first"
_NOTHING = "Nothing of this step was saved."


def add_prompts(connection: sa.Connection, new: Iterable[Prompt]) -> int:
    """Add prompts; returns how many were new."""
    return insert_new(connection, tables.prompts, [tables.prompt_row(prompt) for prompt in new])


def add_candidates(connection: sa.Connection, new: Iterable[Candidate]) -> int:
    """Add candidates; returns how many were new, `UserError` if a prompt is missing."""
    try:
        return insert_new(connection, tables.candidates, [tables.candidate_row(candidate) for candidate in new])
    except sa.exc.IntegrityError as error:
        raise UserError(f"{_FIRST} ({error.orig}). {_NOTHING}") from error


def add_tasks(connection: sa.Connection, new: Iterable[Task], overlap: int | None, time: str) -> int:
    """Add tasks; returns how many were new, `UserError` if one is impossible."""
    if overlap is not None and overlap < 1:
        raise UserError(f"overlap is {overlap}: at least one annotator must judge each task.")
    wanted = list(new)
    if not wanted:
        return 0
    campaigns = campaigns_of(connection)
    if "main" not in campaigns and any(task.campaign == "main" for task in wanted):
        add_campaign(connection, Campaign(), time)
        campaigns = campaigns_of(connection)
    ids = [candidate for task in wanted for candidate in task.candidates]
    found = list(rows_in(connection, tables.candidates.c.id, ids))
    belongs, flagged = {row.id: row.prompt_id for row in found}, naming_their_model(found)
    rows: list[dict[str, Any]] = []
    for task in wanted:
        if task.campaign not in campaigns:
            raise UserError(f'there is no campaign "{task.campaign}" in this label store: add it first. {_NOTHING}')
        now = campaigns[task.campaign]
        if task.version != now.version:
            raise UserError(
                f'the task {task.id} is of version {task.version} of the campaign "{task.campaign}", which is at '
                f"version {now.version}: nobody would be asked. {_NOTHING}"
            )
        check_task(task, now.campaign)
        if any(belongs.get(candidate) != task.prompt_id for candidate in task.candidates):
            raise UserError(f"{_FIRST} (task {task.id}). {_NOTHING}")
        first = None if overlap or task.gold else now.campaign.overlap
        row = tables.task_row(task, overlap or now.campaign.overlap, first)
        rows.append({**row, "flagged": not flagged.isdisjoint(task.candidates)})
    return insert_new(connection, tables.tasks, rows)


def set_priorities(connection: sa.Connection, priorities: Mapping[str, float]) -> int:
    """Give tasks their priority; returns how many of them are in the store, `UserError` if one is no finite number."""
    if not all(math.isfinite(priority) for priority in priorities.values()):
        raise UserError("a priority must be a finite number.")
    known = [row.id for row in rows_in(connection, tables.tasks.c.id, priorities)]
    if known:
        change = sa.update(tables.tasks).where(tables.tasks.c.id == sa.bindparam("task"))
        change = change.values(priority=sa.bindparam("to"))
        connection.execute(change, [{"task": each, "to": float(priorities[each])} for each in known])
    return len(known)


def open_tasks(connection: sa.Connection, campaign: str) -> list[Task]:
    """The tasks of a campaign that still lack an answer, by id; those with a known one, and repeats, left out."""
    found = sa.select(tables.tasks).where(sa.text(tables.OPEN), tables.tasks.c.campaign == campaign)
    return [tables.task_of(row) for row in connection.execute(found.order_by(tables.tasks.c.id))]
