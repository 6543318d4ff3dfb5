"""Finding the next task for an annotator in the database; the rules are those of `assignment/next_task.py`.

Each function works in the transaction that it is given, which must be a writing one: a task to repeat is added here.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import sqlalchemy as sa

from labeling_ui.assignment.next_task import (
    OpenTask,
    at_random,
    mixed_in,
    next_task,
    task_to_repeat,
    verdict_first,
)
from labeling_ui.data_model import REVIEWERS, Prompt, Task
from labeling_ui.store import tables
from labeling_ui.store.answering.at_work import AtWork
from labeling_ui.store.campaign_rules.limits import limits_of
from labeling_ui.store.campaign_rules.qualification import is_busy, kept_from, must_qualify, task_to_qualify
from labeling_ui.store.campaigns import Version

_SAMPLE = 100
"""Tasks to choose from; their ids are hashes, so the first of them are a sample."""
_REPEAT_FROM = 200
"""How many of an annotator's latest judgements are considered for a repeat."""
_REVIEWERS = ", ".join(f"'{role}'" for role in REVIEWERS)
TO_REVIEW = tables.FOR_REVIEW + "".join(
    f" AND NOT EXISTS (SELECT 1 FROM {theirs} JOIN annotators ON annotators.id = {theirs}.annotator_id"
    f" WHERE {theirs}.task_id = tasks.id AND annotators.role IN ({_REVIEWERS}))"
    for theirs in ("judgements", "leases")
)
"""Whether a task waits for a reviewer, of whom one has neither judged it nor holds it."""


def choose_task(
    connection: sa.Connection, who: AtWork, campaigns: dict[str, Version], turn: int, now: float, time: str
) -> tuple[Task, Prompt] | None:
    """The next task of the first campaign that has an open one; gold tasks and repeats come only while it has.

    Whoever has yet to qualify for a campaign is given a task of its qualification round, and nothing else of it.

    Campaigns come by their `order`, then as they were made, those of a verdict before or after all others, by a draw
    for each turn; those that are closed to the person do not. Whoever `reviews` is also given what too many have
    skipped. All campaigns and all kinds of task are looked at every time, so that neither an order nor a delay tells
    which one comes.
    """
    annotator_id, settings = who.annotator_id, {name: each.campaign for name, each in campaigns.items()}
    qualifying = must_qualify(connection, annotator_id, settings)
    if qualifying and is_busy(connection, annotator_id):
        return None
    first = verdict_first(annotator_id, turn)
    closed = limits_of(connection, annotator_id, settings, who.people, now).closed
    there = [each for name, each in campaigns.items() if name not in closed]
    by_turn = sorted(there, key=lambda each: (each.campaign.is_verdict != first, each.campaign.order))
    asked = [(each, _asked(connection, annotator_id, each, turn, who.reviews)) for each in by_turn]
    for version, open_tasks in asked:
        if not open_tasks:
            continue
        if kept_from(version.campaign, qualifying, settings):
            standing = qualifying.get(version.campaign.name)
            known = standing and task_to_qualify(connection, version.campaign, version.version, standing, time)
            if known:
                return _task(connection, known)
            if standing and standing.answered >= version.campaign.qualification > 0 and standing.state == "open":
                return choose_task(connection, who, campaigns, turn, now, time)  # it ended just now
            continue
        found = {
            None: next_task(open_tasks, annotator_id, not at_random(version.campaign, annotator_id, turn)),
            "gold": next_task(_gold_tasks(connection, annotator_id, version), annotator_id),
            "repeat": _repeat(connection, annotator_id, version),
        }
        drawn = mixed_in(version.campaign, annotator_id, turn)
        task, prompt = _task(connection, found[drawn] or found[None])
        again = drawn == "repeat" and found[drawn] == task.id
        return (_again(connection, task, annotator_id) if again else task), prompt
    return None


def _asked(connection: sa.Connection, annotator_id: str, version: Version, turn: int, reviews: bool) -> list[OpenTask]:
    """What the annotator may be asked of the campaign at this turn."""
    by_priority = not at_random(version.campaign, annotator_id, turn)
    open_tasks = _open_tasks(connection, annotator_id, version, by_priority, tables.OPEN)
    if reviews:
        open_tasks += _open_tasks(connection, annotator_id, version, by_priority, TO_REVIEW)
    return open_tasks


def _open_tasks(
    connection: sa.Connection, annotator_id: str, version: Version, by_priority: bool, condition: str
) -> list[OpenTask]:
    """The most urgent tasks that have a place for this annotator; at random, of those that no chooser picked.

    Those that are least taken come first there. Where none is left, the others are dealt.
    """
    given = _given(annotator_id, version)
    rows = [] if by_priority else connection.execute(_free(condition, False, True), given).all()
    rows = rows or connection.execute(_free(condition, by_priority, False), given).all()
    return [OpenTask(row.id, row.taken, row.priority) for row in rows]


def _gold_tasks(connection: sa.Connection, annotator_id: str, version: Version) -> list[OpenTask]:
    """Tasks with a known answer that this annotator has not had. They have a place for everybody."""
    return [OpenTask(row.id) for row in connection.execute(_known_answers(), _given(annotator_id, version))]


def _repeat(connection: sa.Connection, annotator_id: str, version: Version) -> str | None:
    """One of the annotator's earlier tasks to judge again, or a repeat of theirs whose lease has lapsed."""
    given = _given(annotator_id, version)
    repeats = connection.execute(_repeats(), given).all()
    judged = connection.execute(_judged_last(), given).all()
    lapsed = next((row.id for row in repeats if row.waits), None)
    never = {row.repeat_of for row in repeats} | {row.id for row in judged if row.unfit}
    return lapsed or task_to_repeat([row.id for row in judged], never, annotator_id)


# The statements are made once, for they are needed with every answer: `who` is the annotator, `name` and `current` are
# the campaign and its version.


def _given(annotator_id: str, version: Version) -> dict[str, str | int]:
    return {"who": annotator_id, "name": version.campaign.name, "current": version.version}


@cache
def _free(condition: str, by_priority: bool, drawn_alone: bool) -> sa.Select[Any]:
    tasks = tables.tasks.c
    first = (tasks.priority.desc(), tasks.taken, tasks.id) if by_priority else (tasks.taken, tasks.id)
    found = sa.select(tasks.id, tasks.taken, tasks.priority).where(sa.text(condition), *_of(), *_not_theirs())
    found = found.where(tasks.reason == "") if drawn_alone else found
    return found.order_by(*first).limit(_SAMPLE)


@cache
def _known_answers() -> sa.Select[Any]:
    tasks = tables.tasks.c
    found = sa.select(tasks.id).where(sa.text(tables.GOLD), *_of(), *_not_theirs())
    return found.order_by(tasks.id).limit(_SAMPLE)


@cache
def _repeats() -> sa.Select[Any]:
    """All repeats of the annotator; one `waits` for them if it is of the campaign, and neither judged nor held.

    It waits no longer once they took back what they said of the original: there is nothing to repeat.
    """
    tasks, judged = tables.tasks.c, tables.judgements.c
    original = sa.exists().where(judged.task_id == tasks.repeat_of, judged.annotator_id == sa.bindparam("who"))
    waits = sa.and_(*_of(), tasks.repeat_of.is_not(None), tasks.state == "open", original, *_not_theirs())
    found = sa.select(tasks.id, tasks.repeat_of, waits.label("waits"))
    return found.where(tasks.reserved_for == sa.bindparam("who"))


@cache
def _judged_last() -> sa.Select[Any]:
    """What the annotator judged last, the newest first; what is `unfit` is not to be judged again."""
    tasks, judgements, events = tables.tasks.c, tables.judgements.c, tables.events.c
    fit = sa.and_(*_of(), tasks.gold.is_(sa.null()), tasks.repeat_of.is_(None), tasks.state.in_(("open", "decided")))
    mine = sa.select(tasks.id, sa.or_(~fit, events.verdict == "skip").label("unfit"))
    mine = mine.select_from(tables.judgements).join(tables.tasks, judgements.task_id == tasks.id)
    mine = mine.join(tables.events, events.number == judgements.event)
    mine = mine.where(judgements.annotator_id == sa.bindparam("who"))
    return mine.order_by(judgements.event.desc()).limit(_REPEAT_FROM)


def _of() -> tuple[sa.ColumnElement[bool], ...]:
    tasks = tables.tasks.c
    return tasks.campaign == sa.bindparam("name"), tasks.version == sa.bindparam("current")


def _not_theirs() -> list[sa.ColumnElement[bool]]:
    return [
        ~sa.exists().where(table.c.task_id == tables.tasks.c.id, table.c.annotator_id == sa.bindparam("who"))
        for table in (tables.judgements, tables.leases)
    ]


def _again(connection: sa.Connection, task: Task, annotator_id: str) -> Task:
    """The task as a repeat, added to the store for this annotator alone if it is not one already."""
    if task.repeat_of is not None:
        return task
    again = replace(task, repeat_of=task.id, reserved_for=annotator_id, id="", state="open")
    connection.execute(sa.insert(tables.tasks), [tables.task_row(again, overlap=1)])
    return again


def reversed_order(connection: sa.Connection, task: Task) -> list[str] | None:
    """For a repeat, the reverse of the order in which the annotator saw the original; None for any other task."""
    if task.repeat_of is None:
        return None
    events, judgements = tables.events, tables.judgements
    shown = sa.select(events.c.shown).join(judgements, judgements.c.event == events.c.number)
    shown = shown.where(judgements.c.task_id == task.repeat_of, judgements.c.annotator_id == task.reserved_for)
    return list(reversed(connection.execute(shown).scalar_one()))


def _task(connection: sa.Connection, task_id: str | None) -> tuple[Task, Prompt]:
    row = connection.execute(_TASK, {"of": task_id}).one()
    return tables.task_of(row), prompt_beside(row)


def prompt_beside(row: sa.Row[Any]) -> Prompt:
    """The prompt of a row of `WITH_PROMPT`."""
    return Prompt(tuple(row.messages), tuple(row.references), row.prompt_id)


WITH_PROMPT = sa.select(tables.tasks, tables.prompts.c.messages, tables.prompts.c.references).join(
    tables.prompts, tables.prompts.c.id == tables.tasks.c.prompt_id
)
_TASK = WITH_PROMPT.where(tables.tasks.c.id == sa.bindparam("of"))
