"""What each person did, to pay them by: answers, time, and agreement with known answers."""

from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa

from labeling_ui.assignment.answer_comparison import similarity
from labeling_ui.store import tables
from labeling_ui.store.answering.second_thoughts import is_copy
from labeling_ui.store.campaigns import versions_of

_SAID = ("answer", "edit")


@dataclass(frozen=True, slots=True)
class Work:
    """One person's work in a period.

    `answers` are their judgements in force, skips, gold tasks, repeats and removed tasks included: all of it was work.
    `seconds` is the time spent on everything that they said, also where they withdrew or changed it later, pauses left
    out; `untimed` answers brought none along (imported ones). `gold_right` is the mean agreement with the known answers
    of `gold` tasks; None without any.
    """

    annotator_id: str
    name: str
    simulated: bool
    answers: int
    skips: int
    withdrawn: int
    seconds: float
    untimed: int
    gold: int
    gold_right: float | None
    first: str
    last: str

    @property
    def hours(self) -> float:
        """The time in hours."""
        return self.seconds / 3600

    @property
    def rate(self) -> float | None:
        """Answers an hour; None if no time is known."""
        return self.answers / self.hours if self.seconds > 0 else None


def read_work(connection: sa.Connection, since: str | None = None, until: str | None = None) -> list[Work]:
    """The work of everybody who said anything from `since` to before `until` (ISO 8601), by name."""
    events, judgements, people = tables.events.c, tables.judgements.c, tables.annotators.c
    during: list[sa.ColumnElement[bool]] = [events.action.in_((*_SAID, "undo"))]
    during += [] if since is None else [events.created_at >= since]
    during += [] if until is None else [events.created_at < until]
    # An edit takes the place of the answer: which of a person's events are in force is asked of the judgements.
    of = tables.events.outerjoin(tables.judgements, judgements.event == events.number)
    # What is copied from a repeat to its original took no time of its own, and is taken back with it.
    own, in_force = ~is_copy(events.key), judgements.event.is_not(None)
    timed = events.action.in_(_SAID) & own
    said = sa.select(
        events.annotator_id,
        _number(in_force).label("answers"),
        _number(in_force & (events.verdict == "skip")).label("skips"),
        _number((events.action == "undo") & own).label("withdrawn"),
        sa.func.coalesce(sa.func.sum(sa.case((timed, events.seconds), else_=0.0)), 0.0).label("seconds"),
        _number(timed & events.seconds.is_(None)).label("untimed"),
        sa.func.min(events.created_at).label("first"),
        sa.func.max(events.created_at).label("last"),
    )
    rows = connection.execute(said.select_from(of).where(*during).group_by(events.annotator_id)).all()
    named = {row.id: row for row in connection.execute(sa.select(people.id, people.name, people.simulated))}
    right = _agreement_with_gold(connection, during)
    found = [
        Work(
            annotator_id=row.annotator_id,
            name=named[row.annotator_id].name,
            simulated=named[row.annotator_id].simulated,
            answers=int(row.answers),
            skips=int(row.skips),
            withdrawn=int(row.withdrawn),
            seconds=float(row.seconds),
            untimed=int(row.untimed),
            gold=len(right[row.annotator_id]),
            gold_right=sum(right[row.annotator_id]) / len(right[row.annotator_id]) if right[row.annotator_id] else None,
            first=row.first,
            last=row.last,
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (each.name.casefold(), each.annotator_id))


def time_spent(connection: sa.Connection) -> dict[tuple[str, str], float]:
    """The seconds that annotators spent on tasks of which they said something more than once, by task and annotator."""
    events = tables.events.c
    pair = (events.task_id, events.annotator_id)
    timed = sa.select(*pair, sa.func.sum(events.seconds).label("seconds"))
    timed = timed.where(events.action.in_(_SAID), ~is_copy(events.key), events.seconds.is_not(None))
    rows = connection.execute(timed.group_by(*pair).having(sa.func.count() > 1))
    return {(row.task_id, row.annotator_id): float(row.seconds) for row in rows}


def _number(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _agreement_with_gold(connection: sa.Connection, during: list[sa.ColumnElement[bool]]) -> dict[str, list[float]]:
    events, judgements, tasks = tables.events.c, tables.judgements.c, tables.tasks.c
    known = sa.select(tables.tasks, events.annotator_id.label("who"), events.answer.label("given"))
    known = known.join(tables.judgements, judgements.task_id == tasks.id)
    known = known.join(tables.events, events.number == judgements.event)
    known = known.where(tasks.gold.is_not(None), tasks.repeat_of.is_(None), *during)
    right: dict[str, list[float]] = defaultdict(list)
    versions = versions_of(connection)
    for row in connection.execute(known):
        task, given = tables.task_of(row), tables.answer_of(row.given)
        scale = versions[task.campaign, task.version].campaign.scale
        agreed = None if task.gold is None else similarity(given, task.gold, task, scale)
        if agreed is not None:
            right[row.who].append(agreed)
    return right
