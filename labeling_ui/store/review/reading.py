"""Tasks as a lead looks at them: rows of a list, and one task with all that was said of it and done to it.

Each function works in the reading transaction that it is given.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Judgement, Prompt, Task
from labeling_ui.store import tables
from labeling_ui.store.campaigns import versions_of
from labeling_ui.store.database import rows_in
from labeling_ui.store.review.adjudication import decisions
from labeling_ui.store.review.changes import TaskChange, changes_of, find_task


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task in a list. `verdicts` counts the judgements in force by verdict; `latest` is when the last was given."""

    task: Task
    campaign: Campaign
    asked: str
    overlap: int
    verdicts: Mapping[str, int]
    disagreement: float
    flagged: bool
    latest: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was said, by whom, and whether it is in force; `edited` if something else took its place."""

    judgement: Judgement
    name: str
    in_force: bool


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """One task with everything about it. `names` has the people who said or did something by id."""

    task: Task
    campaign: Campaign
    overlap: int
    priority: float
    disagreement: float
    flagged: bool
    prompt: Prompt
    candidates: Sequence[Candidate]
    events: Sequence[Event]
    decision: Judgement | None
    changes: Sequence[TaskChange]
    names: Mapping[str, str]
    repeats: Sequence[str]

    @property
    def judges(self) -> set[str]:
        """The ids of those whose judgement is in force."""
        return {each.judgement.annotator_id for each in self.judgements}

    @property
    def judgements(self) -> Sequence[Event]:
        """What annotators said that is in force."""
        return [each for each in self.events if each.in_force and each.judgement.action != "adjudicate"]


def read_rows(connection: sa.Connection, task_ids: Sequence[str]) -> list[TaskRow]:
    """The tasks, in this order."""
    judgements, events = tables.judgements, tables.events
    versions = versions_of(connection)
    tasks = {row.id: row for row in rows_in(connection, tables.tasks.c.id, task_ids)}
    asked = rows_in(connection, tables.prompts.c.id, (row.prompt_id for row in tasks.values()))
    prompts = {row.id: tables.prompt_of(row) for row in asked}
    said = sa.select(judgements.c.task_id, events.c.verdict, events.c.created_at)
    said = said.join(events, events.c.number == judgements.c.event)
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    latest: dict[str, str] = {}
    for row in rows_in(connection, judgements.c.task_id, task_ids, said):
        verdicts[row.task_id][row.verdict] += 1
        latest[row.task_id] = max(row.created_at, latest.get(row.task_id, ""))
    return [
        TaskRow(
            task=tables.task_of(row),
            campaign=versions[row.campaign, row.version].campaign,
            asked=str(prompts[row.prompt_id].messages[-1]["content"]),
            overlap=row.overlap,
            verdicts=verdicts[row.id],
            disagreement=row.disagreement,
            flagged=row.flagged,
            latest=latest.get(row.id),
        )
        for row in (tasks[each] for each in task_ids if each in tasks)
    ]


def read_task(connection: sa.Connection, task_id: str) -> TaskDetail:
    """The task; `UserError` if there is none of that id."""
    task = find_task(connection, task_id)
    tasks, judgements, events = tables.tasks, tables.judgements, tables.events
    row = connection.execute(sa.select(tasks).where(tasks.c.id == task_id)).one()
    prompt = connection.execute(sa.select(tables.prompts).where(tables.prompts.c.id == task.prompt_id)).one()
    found = {one.id: tables.candidate_of(one) for one in rows_in(connection, tables.candidates.c.id, task.candidates)}
    in_force = set(connection.execute(sa.select(judgements.c.event).where(judgements.c.task_id == task_id)).scalars())
    in_force |= set(
        connection.execute(
            sa.select(tables.adjudications.c.event).where(tables.adjudications.c.task_id == task_id)
        ).scalars()
    )
    said = connection.execute(sa.select(events).where(events.c.task_id == task_id).order_by(events.c.number)).all()
    changes = changes_of(connection, task_id)
    people = {each.annotator_id for each in said} | {each.person_id for each in changes}
    names = {one.id: one.name for one in rows_in(connection, tables.annotators.c.id, people)}
    repeats = sa.select(tasks.c.id).where(tasks.c.repeat_of == task_id).order_by(tasks.c.id)
    return TaskDetail(
        task=task,
        campaign=versions_of(connection)[task.campaign, task.version].campaign,
        overlap=row.overlap,
        priority=row.priority,
        disagreement=row.disagreement,
        flagged=row.flagged,
        prompt=tables.prompt_of(prompt),
        candidates=[found[one] for one in task.candidates],
        events=[Event(tables.judgement_of(each), names[each.annotator_id], each.number in in_force) for each in said],
        decision=next(iter(decisions(connection, [task_id])), None),
        changes=changes,
        names=names,
        repeats=connection.execute(repeats).scalars().all(),
    )
