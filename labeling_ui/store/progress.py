"""How far labeling is: for one annotator, for a campaign, and in the whole store.

Each function works in the transaction that it is given.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import REVIEWERS, VERDICTS
from labeling_ui.store import tables
from labeling_ui.store.answering.at_work import AtWork
from labeling_ui.store.campaign_rules.limits import limits_of
from labeling_ui.store.campaign_rules.qualification import kept_from, must_qualify, qualifying_answers, still_to_give
from labeling_ui.store.campaigns import Campaigns, for_training, is_current
from labeling_ui.store.open_tasks import TO_REVIEW

_MANY, _KEPT_SECONDS = 2_000, 5.0
_counted: WeakKeyDictionary[sa.Engine, dict[tuple[str, str, int], tuple[float, int]]] = WeakKeyDictionary()


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
    """What the store holds to learn from: without verdicts, gold tasks and repeats, which measure something.

    Nor do removed tasks count.
    """

    prompts: int
    tasks: int
    judgements: int
    simulated_judgements: int
    by_verdict: dict[str, int]
    last_event: int
    """The number of the newest event outside verdicts, 0 if there is none: labels after it came later."""


def annotator_progress(connection: sa.Connection, who: AtWork, campaigns: Campaigns, now: float) -> Progress:
    """What the annotator has judged, and what is still open to them."""
    conditions = (tables.OPEN, TO_REVIEW) if who.reviews else (tables.OPEN,)
    total, left = 0, who.held
    limits = limits_of(connection, who.annotator_id, campaigns.settings, who.people, now)
    qualifying = must_qualify(connection, who.annotator_id, campaigns.settings)
    for name, version in campaigns.now.items():
        here, there = _counts(connection, who.annotator_id, name, version.version, conditions)
        asked, open_to_all = here.ordinary, sum(there[each] for each in conditions) - here.open
        if name in limits.closed:
            open_to_all = 0
        known_first = qualifying_answers(connection, name, who.annotator_id) if version.campaign.qualification else 0
        total += known_first
        if kept_from(version.campaign, qualifying, campaigns.settings):
            more = still_to_give(version.campaign, qualifying.get(name)) if open_to_all else 0
            total, left = total + asked + more, left + more
            continue
        open_to_all = min(open_to_all, limits.left.get(name, open_to_all))
        asked, left = asked + open_to_all, left + open_to_all
        share = asked + _mixed_in(version.campaign, asked, there[tables.GOLD])
        if name in limits.left:  # known answers and repeats count in it
            share = here.all - known_first + open_to_all
        total += share
    return Progress(who.judged, max(who.judged, total) if left else who.judged)


def _counts(
    connection: sa.Connection, annotator_id: str, campaign: str, version: int, conditions: Iterable[str]
) -> tuple[sa.Row[Any], dict[str, int]]:
    """What an annotator has of a campaign, by `_own`; and how many tasks meet each of the conditions, or are gold.

    Counting many takes most of an answer's time: it is done now and then.
    """
    kept, now = _counted.setdefault(connection.engine, {}), time.monotonic()
    there: dict[str, int] = {}
    for condition in conditions:
        at, number = kept.get((condition, campaign, version), (0.0, 0))
        if number >= _MANY and now - at <= _KEPT_SECONDS:
            there[condition] = number
    asked = (tables.GOLD, *(each for each in conditions if each not in there))
    given = {"name": campaign, "current": version, "who": annotator_id}
    row = connection.execute(_own(asked), given).one()
    for condition, number in zip(asked, row[-len(asked) :], strict=True):
        there[condition] = number
        kept[condition, campaign, version] = now, number
    return row, there


@cache
def _own(conditions: tuple[str, ...]) -> sa.Select[Any]:
    """How many of an annotator's judgements and leases in a campaign are of each kind; open ones of its version.

    These are counted and not filtered by: looked for among all open tasks, an annotator's few took most of the time of
    an answer. Last come the numbers of all tasks of the version that meet each of the conditions.
    """
    tasks = tables.tasks.c

    def number(*kinds: sa.ColumnElement[bool] | sa.TextClause) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((sa.and_(*kinds), 1), else_=0)), 0)

    own = sa.union_all(
        *(
            sa.select(table.c.task_id).where(table.c.annotator_id == sa.bindparam("who"))
            for table in (tables.judgements, tables.leases)
        )
    ).subquery("own")
    current = tasks.version == sa.bindparam("current")
    counted = sa.select(
        sa.func.count().label("all"),
        number(tasks.gold.is_(sa.null()), tasks.repeat_of.is_(None)).label("ordinary"),
        number(current, sa.text(tables.OPEN)).label("open"),
        *(_of_version(condition).scalar_subquery() for condition in conditions),
    )
    counted = counted.select_from(own.join(tables.tasks, tasks.id == own.c.task_id))
    return counted.where(tasks.campaign == sa.bindparam("name"))


@cache
def _of_version(condition: str) -> sa.Select[int]:
    """How many tasks of a version of a campaign meet a condition."""
    tasks = tables.tasks.c
    counted = sa.select(sa.func.count()).select_from(tables.tasks).where(sa.text(condition))
    return counted.where(tasks.campaign == sa.bindparam("name"), tasks.version == sa.bindparam("current"))


def _mixed_in(campaign: Campaign, asked: int, known: int) -> int:
    """How many gold tasks (of those there are) and repeats come with so many other tasks."""
    gold_share = campaign.gold_share if known else 0.0
    turns = asked / max(0.1, 1 - gold_share - campaign.repeat_share)
    return round(min(known, gold_share * turns) + campaign.repeat_share * turns)


def counts(connection: sa.Connection) -> Counts:
    """How much of everything there is."""
    tasks, events, annotators = tables.tasks.c, tables.events.c, tables.annotators.c
    learned_from = for_training(connection)
    ordinary = (tasks.gold.is_(sa.null()), tasks.repeat_of.is_(None), tasks.state != "removed", learned_from)
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
        prompts=_count(connection, tables.prompts, ~_for_a_verdict_alone(connection)),
        tasks=_count(connection, tables.tasks, *ordinary),
        judgements=sum(by_verdict.values()),
        simulated_judgements=simulated_judgements,
        by_verdict=by_verdict,
        last_event=_last_event(connection),
    )


def is_small(connection: sa.Connection, most: int) -> bool:
    """Whether the store holds at most so many tasks, and as many events: what goes through them all is quick."""
    first = sa.select(tables.tasks.c.id).limit(most + 1).subquery()
    tasks = sa.select(sa.func.count()).select_from(first).scalar_subquery()
    newest = sa.select(sa.func.coalesce(sa.func.max(tables.events.c.number), 0)).scalar_subquery()
    row = connection.execute(sa.select(tasks.label("tasks"), newest.label("newest"))).one()
    return int(max(row.tasks, row.newest)) <= most


def _last_event(connection: sa.Connection) -> int:
    events, tasks = tables.events.c, tables.tasks.c
    newest = sa.select(sa.func.coalesce(sa.func.max(events.number), 0)).select_from(
        tables.events.join(tables.tasks, tasks.id == events.task_id)
    )
    return int(connection.execute(newest.where(for_training(connection))).scalar_one())


def judged_prompts(connection: sa.Connection) -> set[str]:
    """The ids of the prompts on which a verdict was asked."""
    asked = sa.select(tables.tasks.c.prompt_id).where(~for_training(connection)).distinct()
    return set(connection.execute(asked).scalars())


def _for_a_verdict_alone(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Whether nothing else is asked of a row of `prompts`."""
    tasks, learned_from = tables.tasks.c, for_training(connection)
    here = sa.select(tasks.id).where(tasks.prompt_id == tables.prompts.c.id)
    return sa.and_(here.where(~learned_from).exists(), ~here.where(learned_from).exists())


def waiting(connection: sa.Connection, campaign: str | None) -> int:
    """How many judgements the tasks (of one campaign, or of all but verdicts) still lack, each by its overlap.

    A skip is none. A task that enough annotators have skipped lacks the word of one reviewer, if it lacks any. Tasks
    with a known answer, those that are one annotator's alone, those of an older version, and those that a lead paused,
    removed or decided are not waited for.
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
        ((number < tasks.overlap) & ~reviewed, 1),
        else_=0,
    )
    lacking = sa.select(sa.func.coalesce(sa.func.sum(lacks), 0))
    lacking = lacking.select_from(tables.tasks.outerjoin(each, each.c.task_id == tasks.id))
    asked = (tasks.gold.is_(sa.null()), tasks.reserved_for.is_(None), tasks.state == "open")
    lacking = lacking.where(*asked, is_current())
    lacking = lacking.where(for_training(connection) if campaign is None else tasks.campaign == campaign)
    return int(connection.execute(lacking).scalar_one())


def _count(connection: sa.Connection, rows: sa.FromClause, *conditions: sa.ColumnElement[bool] | sa.TextClause) -> int:
    statement = sa.select(sa.func.count()).select_from(rows).where(*conditions)
    return int(connection.execute(statement).scalar_one())
