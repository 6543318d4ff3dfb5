"""How far labeling is: for one annotator, for a campaign, and in the whole store.

Each function works in the transaction that it is given.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import REVIEWERS, VERDICTS
from labeling_ui.store import tables
from labeling_ui.store.campaigns import campaigns_of, is_current
from labeling_ui.store.leases import judged_by, may_review


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an annotator is: `done` counts everything that they judged.

    `total` is what they have judged of the tasks that everybody is asked and what of these is open to them, and as many
    gold tasks and repeats as their share says. So it stays as it is whichever kind of task comes next: an annotator
    cannot tell them by it. It is `done` when nothing is left.
    """

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
    done = judged_by(connection, annotator_id)
    judged = judgements.join(tasks, tasks.c.id == judgements.c.task_id)
    leased = leases.join(tasks, tasks.c.id == leases.c.task_id)
    conditions = [tables.OPEN, tables.FOR_REVIEW] if may_review(connection, annotator_id) else [tables.OPEN]
    ordinary = (tasks.c.gold.is_(sa.null()), tasks.c.repeat_of.is_(None))
    total, left = 0, _count(connection, leases, leases.c.annotator_id == annotator_id)
    for name, now in campaigns_of(connection).items():
        mine, held = judgements.c.annotator_id == annotator_id, leases.c.annotator_id == annotator_id
        here = tasks.c.campaign == name
        asked = _count(connection, judged, mine, here, *ordinary) + _count(connection, leased, held, here, *ordinary)
        current = (here, tasks.c.version == now.version)
        for condition in map(sa.text, conditions):
            free = _count(connection, tasks, condition, *current)
            free -= _count(connection, judged, mine, condition, *current)
            free -= _count(connection, leased, held, condition, *current)
            asked, left = asked + free, left + free
        total += asked + _mixed_in(now.campaign, asked, _count(connection, tasks, sa.text(tables.GOLD), *current))
    return Progress(done, max(done, total) if left else done)


def _mixed_in(campaign: Campaign, asked: int, known: int) -> int:
    """How many gold tasks (of those there are) and repeats come with so many other tasks."""
    gold_share = campaign.gold_share if known else 0.0
    turns = asked / max(0.1, 1 - gold_share - campaign.repeat_share)
    return round(min(known, gold_share * turns) + campaign.repeat_share * turns)


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
    """How many judgements the tasks (of one campaign) still lack, each by its overlap. A skip is none.

    A task that enough annotators have skipped lacks the word of a reviewer, if it has no answer. Tasks with a known
    answer, those that are one annotator's alone, and those of an older version of their campaign are not waited for.
    """
    tasks, judgements, events = tables.tasks.c, tables.judgements, tables.events.c
    given = sa.select(judgements.c.task_id, sa.func.count().label("number"))
    given = given.join(tables.events, events.number == judgements.c.event).where(events.verdict != "skip")
    each = given.group_by(judgements.c.task_id).subquery()
    number = sa.func.coalesce(each.c.number, 0)
    people = tables.annotators.c
    reviewed = sa.exists().where(
        judgements.c.task_id == tasks.id, judgements.c.annotator_id == people.id, people.role.in_(REVIEWERS)
    )
    lacks = sa.case(
        (tasks.skips < tables.ENOUGH_SKIPS, sa.case((number < tasks.overlap, tasks.overlap - number), else_=0)),
        ((number == 0) & ~reviewed, 1),
        else_=0,
    )
    lacking = sa.select(sa.func.coalesce(sa.func.sum(lacks), 0))
    lacking = lacking.select_from(tables.tasks.outerjoin(each, each.c.task_id == tasks.id))
    lacking = lacking.where(tasks.gold.is_(sa.null()), tasks.reserved_for.is_(None), is_current())
    if campaign is not None:
        lacking = lacking.where(tasks.campaign == campaign)
    return int(connection.execute(lacking).scalar_one())


def _count(connection: sa.Connection, rows: sa.FromClause, *conditions: sa.ColumnElement[bool] | sa.TextClause) -> int:
    statement = sa.select(sa.func.count()).select_from(rows).where(*conditions)
    return int(connection.execute(statement).scalar_one())
