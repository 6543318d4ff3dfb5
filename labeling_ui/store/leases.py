"""Leases: each holds one of a task's places for an annotator until it expires.

Expired leases of others end whenever a task is handed out; an annotator's own are renewed. If the server's clock was
set back, leases would end too late: they are shortened to their length from now on. Each function works in the writing
transaction that it is given. Which task is next is found in `open_tasks.py`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from labeling_ui.assignment.display_order import display_order
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Assignment, Judgement, Prompt, Task
from labeling_ui.store import tables
from labeling_ui.store.answering.at_work import AtWork
from labeling_ui.store.campaigns import Campaigns
from labeling_ui.store.database import rows_in
from labeling_ui.store.open_tasks import WITH_PROMPT, choose_task, prompt_beside, reversed_order


def hand_out(
    connection: sa.Connection, who: AtWork, campaigns: Campaigns, count: int, now: float, time: str
) -> list[Assignment]:
    """The annotator's leased tasks in the order they were given, topped up to `count`, and leased from now on."""
    annotator_id = who.annotator_id
    if who.leases_ended:
        _end_expired(connection, annotator_id, now)
    held = connection.execute(_HELD, {"who": annotator_id}).all()
    kept = held[:count]
    if kept:
        connection.execute(_RENEW, {"who": annotator_id, "tasks": [row.id for row in kept], "from_now": now})
    asked = [(tables.task_of(row), prompt_beside(row), row.shown) for row in kept]
    place = held[-1].granted if held else 0
    for turn in range(who.judged + len(held), who.judged + count):
        chosen = choose_task(connection, who, campaigns.now, turn, now, time)
        if chosen is None:
            break
        place += 1
        task, prompt = chosen
        shown = reversed_order(connection, task) or display_order(task, annotator_id)
        lease(connection, task, annotator_id, campaigns.now[task.campaign].campaign, now, place, shown)
        asked.append((task, prompt, shown))
    return _assignments(connection, annotator_id, asked, _withdrawn(connection, kept), campaigns)


def lease(
    connection: sa.Connection, task: Task, annotator_id: str, campaign: Campaign, now: float, place: int,
    shown: Sequence[str], undone: int | None = None,
) -> None:  # fmt: skip
    """Give one of the task's places to the annotator; `place` says where among their tasks it comes."""
    lasts = campaign.lease_minutes * 60
    row = {"task_id": task.id, "annotator_id": annotator_id, "shown": list(shown), "granted": place, "undone": undone}
    connection.execute(sa.insert(tables.leases), [{**row, "leased_until": now + lasts, "lasts": lasts}])
    change_taken(connection, {task.id: 1})


def leased_to(connection: sa.Connection, annotator_id: str, campaigns: Campaigns) -> list[Assignment]:
    """The tasks that the annotator holds, with their answers from before an undo."""
    held = connection.execute(_HELD, {"who": annotator_id}).all()
    asked, before = [(tables.task_of(row), prompt_beside(row), row.shown) for row in held], _withdrawn(connection, held)
    return _assignments(connection, annotator_id, asked, before, campaigns)


def release(connection: sa.Connection, annotator_id: str) -> None:
    """Give back every place that the annotator holds."""
    leases = tables.leases
    ended = sa.delete(leases).where(leases.c.annotator_id == annotator_id).returning(leases.c.task_id)
    change_taken(connection, {task_id: -1 for task_id in connection.execute(ended).scalars().all()})


def change_taken(connection: sa.Connection, changes: Mapping[str, int], skips: Mapping[str, int] = {}) -> None:
    """Keep the tasks' counters in step with their leases and judgements."""
    ids = [each for each in dict.fromkeys([*changes, *skips]) if changes.get(each) or skips.get(each)]
    if not ids:
        return
    rows = [{"of_task": each, "change": changes.get(each, 0), "skipped": skips.get(each, 0)} for each in ids]
    connection.execute(_COUNTED, rows)


def judged_assignment(connection: sa.Connection, judgement: Judgement, campaigns: Campaigns) -> Assignment:
    """A judged task as its annotator saw it."""
    row = connection.execute(WITH_PROMPT.where(tables.tasks.c.id == judgement.task_id)).one()
    asked = [(tables.task_of(row), prompt_beside(row), judgement.shown)]
    return _assignments(connection, judgement.annotator_id, asked, {judgement.task_id: judgement}, campaigns)[0]


def _withdrawn(connection: sa.Connection, held: Sequence[sa.Row[Any]]) -> dict[str, Judgement]:
    """What the annotator said of the tasks that they hold before they withdrew it, by task."""
    undone = [row.undone for row in held if row.undone is not None]
    if not undone:
        return {}
    said = sa.select(tables.events).where(tables.events.c.number.in_(undone))
    return {row.task_id: tables.judgement_of(row) for row in connection.execute(said)}


def _assignments(
    connection: sa.Connection, annotator_id: str, asked: Sequence[tuple[Task, Prompt, Sequence[str]]],
    before: Mapping[str, Judgement], campaigns: Campaigns,
) -> list[Assignment]:  # fmt: skip
    """Each task with its prompt and the candidates that are shown, in their order, and what was asked with it."""
    ids = [one for _, _, shown in asked for one in shown]
    found = rows_in(connection, tables.candidates.c.id, ids)
    candidates = {row.id: tables.candidate_of(row) for row in found}
    return [
        Assignment(
            task, annotator_id, campaigns.versions[task.campaign, task.version].campaign, prompt,
            tuple(candidates[one] for one in shown), before.get(task.id),
        )
        for task, prompt, shown in asked
    ]  # fmt: skip


def _end_expired(connection: sa.Connection, annotator_id: str, now: float) -> None:
    """End the expired leases of everybody else, and shorten those that a clock set back has made too long."""
    leases = tables.leases
    expired = (leases.c.leased_until <= now) & (leases.c.annotator_id != annotator_id)
    too_long = leases.c.leased_until > now + leases.c.lasts
    freed = Counter(connection.execute(sa.delete(leases).where(expired).returning(leases.c.task_id)).scalars())
    change_taken(connection, {task_id: -number for task_id, number in freed.items()})
    connection.execute(sa.update(leases).where(too_long).values(leased_until=now + leases.c.lasts))


# The statements are made once, for they are needed with every answer.
_OWN = tables.leases.c.annotator_id == sa.bindparam("who")
_HELD = (
    WITH_PROMPT.add_columns(tables.leases.c.shown, tables.leases.c.granted, tables.leases.c.undone)
    .join(tables.leases, tables.leases.c.task_id == tables.tasks.c.id)
    .where(_OWN)
    .order_by(tables.leases.c.granted)
)
_RENEW = (
    sa.update(tables.leases)
    .where(_OWN, tables.leases.c.task_id.in_(sa.bindparam("tasks", expanding=True)))
    .values(leased_until=sa.bindparam("from_now") + tables.leases.c.lasts)
)
_TASKS = tables.tasks.c
_COUNTED = (
    sa.update(tables.tasks)
    .where(_TASKS.id == sa.bindparam("of_task"))
    .values(taken=_TASKS.taken + sa.bindparam("change"), skips=_TASKS.skips + sa.bindparam("skipped"))
)
