"""Adding campaigns, prompts, candidates and tasks: each function works in the writing transaction that it is given.

Ids are hashes of the content, so that adding a record twice adds nothing.
"""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import check_task
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Prompt, Task
from labeling_ui.store import tables
from labeling_ui.store.database import insert_new, rows_in

_FIRST = "a candidate needs its prompt, and a task its prompt and its candidates, in the store first"
_NOTHING = "Nothing of this step was saved."


def campaigns_of(connection: sa.Connection) -> dict[str, Campaign]:
    """All campaigns by name, in the order of their names."""
    rows = connection.execute(sa.select(tables.campaigns).order_by(tables.campaigns.c.name))
    return {row.name: Campaign.model_validate(row.settings) for row in rows}


def add_campaign(connection: sa.Connection, new: Campaign) -> None:
    """Add a campaign, or give one of that name new settings; `UserError` if its tasks are of another kind."""
    known = campaigns_of(connection).get(new.name)
    settings = new.model_dump(mode="json")
    if known is None:
        connection.execute(sa.insert(tables.campaigns), [{"name": new.name, "settings": settings}])
        return
    has_tasks = sa.select(tables.tasks.c.id).where(tables.tasks.c.campaign == new.name).limit(1)
    if known.kind != new.kind and connection.execute(has_tasks).first():
        raise UserError(
            f'the campaign "{new.name}" has {known.kind} tasks already: give a {new.kind} campaign another name.'
        )
    if known != new:
        ours = tables.campaigns.c.name == new.name
        connection.execute(sa.update(tables.campaigns).where(ours).values(settings=settings))


def add_prompts(connection: sa.Connection, new: Iterable[Prompt]) -> int:
    """Add prompts; returns how many were new."""
    rows = [{"id": p.id, "messages": list(p.messages), "references": list(p.references)} for p in new]
    return insert_new(connection, tables.prompts, rows)


def add_candidates(connection: sa.Connection, new: Iterable[Candidate]) -> int:
    """Add candidates; returns how many were new, `UserError` if a prompt is missing."""
    rows = [{"id": c.id, "prompt_id": c.prompt_id, "response": c.response, "source": dict(c.source)} for c in new]
    try:
        return insert_new(connection, tables.candidates, rows)
    except sa.exc.IntegrityError as error:
        raise UserError(f"{_FIRST} ({error.orig}). {_NOTHING}") from error


def add_tasks(connection: sa.Connection, new: Iterable[Task], overlap: int | None) -> int:
    """Add tasks; returns how many were new, `UserError` if one is impossible."""
    if overlap is not None and overlap < 1:
        raise UserError(f"overlap is {overlap}: at least one annotator must judge each task.")
    wanted = list(new)
    if not wanted:
        return 0
    campaigns = campaigns_of(connection)
    if "main" not in campaigns and any(task.campaign == "main" for task in wanted):
        add_campaign(connection, Campaign())
        campaigns = campaigns_of(connection)
    ids = [candidate for task in wanted for candidate in task.candidates]
    belongs = {row.id: row.prompt_id for row in rows_in(connection, tables.candidates.c.id, ids)}
    rows: list[dict[str, Any]] = []
    for task in wanted:
        if task.campaign not in campaigns:
            raise UserError(f'there is no campaign "{task.campaign}" in this label store: add it first. {_NOTHING}')
        check_task(task, campaigns[task.campaign])
        if any(belongs.get(candidate) != task.prompt_id for candidate in task.candidates):
            raise UserError(f"{_FIRST} (task {task.id}). {_NOTHING}")
        rows.append(
            {
                "id": task.id,
                "campaign": task.campaign,
                "prompt_id": task.prompt_id,
                "candidates": list(task.candidates),
                "overlap": overlap or campaigns[task.campaign].overlap,
                "gold": None if task.gold is None else tables.said(task.gold),
                "repeat_of": task.repeat_of,
                "reserved_for": task.reserved_for,
            }
        )
    return insert_new(connection, tables.tasks, rows)
