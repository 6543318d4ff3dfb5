"""Leases: each holds one of a task's places for an annotator until it expires.

Expired leases of others end whenever a task is handed out; an annotator's own are renewed. If the server's clock was
set back, leases would end too late: they are shortened to their length from now on. Each function works in the writing
transaction that it is given. Which task is next is found in `open_tasks.py`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.display_order import display_order
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import REVIEWERS, Assignment, Judgement, Task
from labeling_ui.store import tables
from labeling_ui.store.campaigns import Version, campaigns_of, versions_of
from labeling_ui.store.database import rows_in
from labeling_ui.store.open_tasks import choose_task, reversed_order


def hand_out(connection: sa.Connection, annotator_id: str, count: int, now: float) -> list[Assignment]:
    """The annotator's leased tasks in the order they were given, topped up to `count`, and leased from now on."""
    leases = tables.leases
    done = judged_by(connection, annotator_id)
    campaigns = campaigns_of(connection)
    reviews = may_review(connection, annotator_id)
    _end_expired(connection, annotator_id, campaigns, now)
    mine = sa.select(leases.c.task_id, leases.c.granted).where(leases.c.annotator_id == annotator_id)
    held = connection.execute(mine.order_by(leases.c.granted)).all()
    place = held[-1].granted if held else 0
    for turn in range(done + len(held), done + count):
        task = choose_task(connection, annotator_id, campaigns, turn, reviews)
        if task is None:
            break
        place += 1
        shown = reversed_order(connection, task) or display_order(task, annotator_id)
        lease(connection, task, annotator_id, campaigns[task.campaign].campaign, now, place, shown)
    kept = [row.task_id for row in held[:count]]
    if kept:
        ours = (leases.c.annotator_id == annotator_id) & leases.c.task_id.in_(kept)
        connection.execute(sa.update(leases).where(ours).values(leased_until=now + leases.c.lasts))
    return leased_to(connection, annotator_id, count)


def lease(
    connection: sa.Connection, task: Task, annotator_id: str, campaign: Campaign, now: float, place: int,
    shown: Sequence[str], undone: int | None = None,
) -> None:  # fmt: skip
    """Give one of the task's places to the annotator; `place` says where among their tasks it comes."""
    lasts = campaign.lease_minutes * 60
    row = {"task_id": task.id, "annotator_id": annotator_id, "shown": list(shown), "granted": place, "undone": undone}
    connection.execute(sa.insert(tables.leases), [{**row, "leased_until": now + lasts, "lasts": lasts}])
    change_taken(connection, {task.id: 1})


def leased_to(connection: sa.Connection, annotator_id: str, count: int | None = None) -> list[Assignment]:
    """The tasks that the annotator holds (the first so many), with their answers from before an undo."""
    leases, events = tables.leases, tables.events
    held = sa.select(leases.c.task_id.label("leased"), leases.c.shown.label("seen"), events)
    held = held.outerjoin(events, events.c.number == leases.c.undone).where(leases.c.annotator_id == annotator_id)
    rows = connection.execute(held.order_by(leases.c.granted).limit(count)).all()
    shown = {row.leased: row.seen for row in rows}
    before = {row.leased: tables.judgement_of(row) for row in rows if row.number is not None}
    return list(_assignments(connection, annotator_id, shown, before))


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
    tasks = tables.tasks
    counted = sa.update(tasks).where(tasks.c.id == sa.bindparam("of_task"))
    counted = counted.values(
        taken=tasks.c.taken + sa.bindparam("change"), skips=tasks.c.skips + sa.bindparam("skipped")
    )
    rows = [{"of_task": each, "change": changes.get(each, 0), "skipped": skips.get(each, 0)} for each in ids]
    connection.execute(counted, rows)


def judged_assignment(connection: sa.Connection, judgement: Judgement) -> Assignment:
    """A judged task as its annotator saw it."""
    shown, before = {judgement.task_id: judgement.shown}, {judgement.task_id: judgement}
    (found,) = _assignments(connection, judgement.annotator_id, shown, before)
    return found


def judged_by(connection: sa.Connection, annotator_id: str) -> int:
    """How many judgements of the annotator are in force; `UserError` if there is no such annotator."""
    judgements, annotators = tables.judgements, tables.annotators
    number = sa.select(sa.func.count()).where(judgements.c.annotator_id == annotator_id).scalar_subquery()
    found = connection.execute(sa.select(number).where(annotators.c.id == annotator_id)).first()
    if found is None:
        raise UserError(f'there is no annotator "{annotator_id}" in this label store. Sign in again.')
    return int(found[0])


def may_review(connection: sa.Connection, annotator_id: str) -> bool:
    """Whether the annotator is given what others could not judge."""
    people = tables.annotators.c
    found = sa.select(people.role).where(people.id == annotator_id)
    return connection.execute(found).scalar_one() in REVIEWERS


def _assignments(
    connection: sa.Connection, annotator_id: str,
    shown: Mapping[str, Sequence[str]], before: Mapping[str, Judgement],
) -> Iterator[Assignment]:  # fmt: skip
    """Each task with its prompt and its candidates, as they are shown, and what was asked with it."""
    if not shown:
        return
    found = rows_in(connection, tables.candidates.c.id, (one for ids in shown.values() for one in ids))
    candidates = {row.id: tables.candidate_of(row) for row in found}
    tasks = {row.id: tables.task_of(row) for row in rows_in(connection, tables.tasks.c.id, shown)}
    asked = rows_in(connection, tables.prompts.c.id, (task.prompt_id for task in tasks.values()))
    prompts = {row.id: tables.prompt_of(row) for row in asked}
    versions = versions_of(connection)
    for task_id, ids in shown.items():
        task = tasks[task_id]
        responses = tuple(candidates[one] for one in ids)
        campaign, prompt = versions[task.campaign, task.version].campaign, prompts[task.prompt_id]
        yield Assignment(task, annotator_id, campaign, prompt, responses, before.get(task_id))


def _end_expired(connection: sa.Connection, annotator_id: str, campaigns: dict[str, Version], now: float) -> None:
    """End the expired leases of everybody else, and shorten those that a clock set back has made too long."""
    leases = tables.leases
    longest = max((each.campaign.lease_minutes * 60 for each in campaigns.values()), default=0.0)
    found = sa.select(leases.c.task_id).where((leases.c.leased_until <= now) | (leases.c.leased_until > now + longest))
    if connection.execute(found.limit(1)).first() is None:
        return
    expired = (leases.c.leased_until <= now) & (leases.c.annotator_id != annotator_id)
    too_long = leases.c.leased_until > now + leases.c.lasts
    freed = Counter(connection.execute(sa.delete(leases).where(expired).returning(leases.c.task_id)).scalars())
    change_taken(connection, {task_id: -number for task_id, number in freed.items()})
    connection.execute(sa.update(leases).where(too_long).values(leased_until=now + leases.c.lasts))
