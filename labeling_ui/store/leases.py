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
from labeling_ui.data_model import Assignment, Judgement, Task
from labeling_ui.store import tables
from labeling_ui.store.database import rows_in
from labeling_ui.store.open_tasks import choose_task, reversed_order
from labeling_ui.store.tasks import campaigns_of


def hand_out(connection: sa.Connection, annotator_id: str, count: int, now: float) -> list[Assignment]:
    """The annotator's leased tasks in the order they were given, topped up to `count`, and leased from now on."""
    leases = tables.leases
    done = judged_by(connection, annotator_id)
    campaigns = campaigns_of(connection)
    _end_expired(connection, annotator_id, campaigns, now)
    mine = sa.select(leases.c.task_id, leases.c.granted).where(leases.c.annotator_id == annotator_id)
    held = connection.execute(mine.order_by(leases.c.granted)).all()
    place = held[-1].granted if held else 0
    for turn in range(done + len(held), done + count):
        task = choose_task(connection, annotator_id, campaigns, turn)
        if task is None:
            break
        place += 1
        shown = reversed_order(connection, task) or display_order(task, annotator_id)
        lease(connection, task, annotator_id, campaigns[task.campaign], now, place, shown)
    kept = [row.task_id for row in held[:count]]
    if kept:
        ours = (leases.c.annotator_id == annotator_id) & leases.c.task_id.in_(kept)
        connection.execute(sa.update(leases).where(ours).values(leased_until=now + leases.c.lasts))
    return leased_to(connection, annotator_id, campaigns, count)


def lease(
    connection: sa.Connection, task: Task, annotator_id: str, campaign: Campaign, now: float, place: int,
    shown: Sequence[str], undone: int | None = None,
) -> None:  # fmt: skip
    """Give one of the task's places to the annotator; `place` says where among their tasks it comes."""
    lasts = campaign.lease_minutes * 60
    row = {"task_id": task.id, "annotator_id": annotator_id, "shown": list(shown), "granted": place, "undone": undone}
    connection.execute(sa.insert(tables.leases), [{**row, "leased_until": now + lasts, "lasts": lasts}])
    change_taken(connection, {task.id: 1})


def leased_to(
    connection: sa.Connection, annotator_id: str, campaigns: dict[str, Campaign], count: int | None = None
) -> list[Assignment]:
    """The tasks that the annotator holds (the first so many), with their answers from before an undo."""
    leases, events = tables.leases, tables.events
    held = sa.select(leases.c.task_id.label("leased"), leases.c.shown.label("seen"), events)
    held = held.outerjoin(events, events.c.number == leases.c.undone).where(leases.c.annotator_id == annotator_id)
    rows = connection.execute(held.order_by(leases.c.granted).limit(count)).all()
    shown = {row.leased: row.seen for row in rows}
    before = {row.leased: tables.judgement_of(row) for row in rows if row.number is not None}
    return list(_assignments(connection, annotator_id, campaigns, shown, before))


def release(connection: sa.Connection, annotator_id: str) -> None:
    """Give back every place that the annotator holds."""
    leases = tables.leases
    ended = sa.delete(leases).where(leases.c.annotator_id == annotator_id).returning(leases.c.task_id)
    change_taken(connection, {task_id: -1 for task_id in connection.execute(ended).scalars().all()})


def change_taken(connection: sa.Connection, changes: dict[str, int]) -> None:
    """Keep the tasks' counters in step with their leases and judgements."""
    if not changes:
        return
    counted = sa.update(tables.tasks).where(tables.tasks.c.id == sa.bindparam("of_task"))
    counted = counted.values(taken=tables.tasks.c.taken + sa.bindparam("change"))
    connection.execute(counted, [{"of_task": task_id, "change": change} for task_id, change in changes.items()])


def judged_assignment(connection: sa.Connection, judgement: Judgement) -> Assignment:
    """A judged task as its annotator saw it."""
    shown, before = {judgement.task_id: judgement.shown}, {judgement.task_id: judgement}
    (found,) = _assignments(connection, judgement.annotator_id, campaigns_of(connection), shown, before)
    return found


def judged_by(connection: sa.Connection, annotator_id: str) -> int:
    """How many judgements of the annotator are in force; `UserError` if there is no such annotator."""
    judgements, annotators = tables.judgements, tables.annotators
    number = sa.select(sa.func.count()).where(judgements.c.annotator_id == annotator_id).scalar_subquery()
    found = connection.execute(sa.select(number).where(annotators.c.id == annotator_id)).first()
    if found is None:
        raise UserError(f'there is no annotator "{annotator_id}" in this label store. Sign in again.')
    return int(found[0])


def _assignments(
    connection: sa.Connection, annotator_id: str, campaigns: dict[str, Campaign],
    shown: Mapping[str, Sequence[str]], before: Mapping[str, Judgement],
) -> Iterator[Assignment]:  # fmt: skip
    """Each task with its prompt and its candidates, as they are shown."""
    found = rows_in(connection, tables.candidates.c.id, (one for ids in shown.values() for one in ids))
    candidates = {row.id: tables.candidate_of(row) for row in found}
    tasks = {row.id: tables.task_of(row) for row in rows_in(connection, tables.tasks.c.id, shown)}
    asked = rows_in(connection, tables.prompts.c.id, (task.prompt_id for task in tasks.values()))
    prompts = {row.id: tables.prompt_of(row) for row in asked}
    for task_id, ids in shown.items():
        task = tasks[task_id]
        responses = tuple(candidates[one] for one in ids)
        campaign, prompt = campaigns[task.campaign], prompts[task.prompt_id]
        yield Assignment(task, annotator_id, campaign, prompt, responses, before.get(task_id))


def _end_expired(connection: sa.Connection, annotator_id: str, campaigns: dict[str, Campaign], now: float) -> None:
    """End the expired leases of everybody else, and shorten those that a clock set back has made too long."""
    leases = tables.leases
    longest = max((campaign.lease_minutes * 60 for campaign in campaigns.values()), default=0.0)
    found = sa.select(leases.c.task_id).where((leases.c.leased_until <= now) | (leases.c.leased_until > now + longest))
    if connection.execute(found.limit(1)).first() is None:
        return
    expired = (leases.c.leased_until <= now) & (leases.c.annotator_id != annotator_id)
    too_long = leases.c.leased_until > now + leases.c.lasts
    freed = Counter(connection.execute(sa.delete(leases).where(expired).returning(leases.c.task_id)).scalars())
    change_taken(connection, {task_id: -number for task_id, number in freed.items()})
    connection.execute(sa.update(leases).where(too_long).values(leased_until=now + leases.c.lasts))
