"""How far labeling is: for one annotator, for a campaign, and in the whole store.

Each function works in the transaction that it is given.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from labeling_ui.data_model import VERDICTS
from labeling_ui.store import tables
from labeling_ui.store.leases import judged_by


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an annotator is: `total` is `done` and what could still be given to them."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What the store holds to learn from: without gold tasks and repeats, which measure the annotators."""

    prompts: int
    tasks: int
    judgements: int
    simulated_judgements: int
    by_verdict: dict[str, int]


def annotator_progress(connection: sa.Connection, annotator_id: str) -> Progress:
    """What the annotator has judged, and what is still open to them."""
    tasks, judgements, leases = tables.tasks, tables.judgements, tables.leases
    is_open = sa.text(tables.OPEN)
    done = judged_by(connection, annotator_id)
    mine = judgements.c.annotator_id == annotator_id
    held = leases.c.annotator_id == annotator_id
    judged = _count(connection, judgements.join(tasks, tasks.c.id == judgements.c.task_id), mine, is_open)
    leased = _count(connection, leases.join(tasks, tasks.c.id == leases.c.task_id), held, is_open)
    unfinished = _count(connection, leases, held) + _count(connection, tasks, is_open) - judged - leased
    return Progress(done, done + unfinished)


def counts(connection: sa.Connection) -> Counts:
    """How much of everything there is."""
    tasks, events, annotators = tables.tasks.c, tables.events.c, tables.annotators.c
    ordinary = (tasks.gold.is_(sa.null()), tasks.repeat_of.is_(None))
    of = tables.judgements.join(tables.events, events.number == tables.judgements.c.event)
    of = of.join(tables.tasks, tasks.id == tables.judgements.c.task_id)
    of = of.join(tables.annotators, annotators.id == tables.judgements.c.annotator_id)
    kinds = sa.select(annotators.simulated, events.verdict, sa.func.count()).select_from(of).where(*ordinary)
    kinds = kinds.group_by(annotators.simulated, events.verdict)
    by_verdict: dict[str, int] = {str(verdict): 0 for verdict in VERDICTS}
    simulated_judgements = 0
    for simulated, verdict, number in connection.execute(kinds):
        by_verdict[verdict] += number
        simulated_judgements += number if simulated else 0
    return Counts(
        prompts=_count(connection, tables.prompts),
        tasks=_count(connection, tables.tasks, *ordinary),
        judgements=sum(by_verdict.values()),
        simulated_judgements=simulated_judgements,
        by_verdict=by_verdict,
    )


def waiting(connection: sa.Connection, campaign: str | None) -> int:
    """How many judgements the tasks (of one campaign) still lack, each by the overlap that it was added with.

    Tasks with a known answer, and those that are one annotator's alone, are not waited for.
    """
    tasks, judgements = tables.tasks.c, tables.judgements
    given = sa.select(judgements.c.task_id, sa.func.count().label("number")).group_by(judgements.c.task_id)
    each = given.subquery()
    number = sa.func.coalesce(each.c.number, 0)
    lacking = sa.select(sa.func.coalesce(sa.func.sum(tasks.overlap - number), 0))
    lacking = lacking.select_from(tables.tasks.outerjoin(each, each.c.task_id == tasks.id))
    lacking = lacking.where(number < tasks.overlap, tasks.gold.is_(sa.null()), tasks.reserved_for.is_(None))
    if campaign is not None:
        lacking = lacking.where(tasks.campaign == campaign)
    return int(connection.execute(lacking).scalar_one())


def _count(connection: sa.Connection, rows: sa.FromClause, *conditions: sa.ColumnElement[bool] | sa.TextClause) -> int:
    statement = sa.select(sa.func.count()).select_from(rows).where(*conditions)
    return int(connection.execute(statement).scalar_one())
