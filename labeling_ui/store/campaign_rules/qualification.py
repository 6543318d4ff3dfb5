"""The qualification round of a campaign: known answers, with feedback, before a person is asked anything else.

An attempt is so many tasks with a known answer that the person has not seen, dealt one by one; after the last, the mean
agreement with the known answers decides. Answers are final, since the person is told each time. A person who has used
all attempts is asked nothing until somebody gives them another (`reopen`) or lets them pass. Simulated annotators need
no qualification, and neither does a verdict; but whoever must still qualify for pairs is given no pairs of a verdict.
Each function works in the transaction that it is given.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.answer_comparison import similarity
from labeling_ui.assignment.hash_draws import draw
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules.rule_tables import qualification_tasks, qualifications
from labeling_ui.store.database import rows_in

State = Literal["passed", "failed", "open", "new"]
"""`new`: no attempt was begun; `failed`: none is left."""
_NEARLY = 1e-9


@dataclass(frozen=True, slots=True)
class Qualifying:
    """How a person stands in a campaign's qualification: in attempt number `attempt`, `answered` are given.

    `right` sums the agreement of these with the known answers, 1 for each that is right.
    """

    campaign: str
    annotator_id: str
    state: State
    attempt: int = 0
    answered: int = 0
    right: float = 0.0
    left: int = 0
    """Attempts that can still be begun."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person is told after an answer of a qualification round."""

    known: Answer
    right: float
    standing: Qualifying


def standing_of(connection: sa.Connection, campaign: Campaign, annotator_id: str) -> Qualifying:
    """How the person stands now; under today's settings, but an attempt that has ended stays as it ended."""
    table = qualifications.c
    mine = sa.select(qualifications).where(table.campaign == campaign.name, table.annotator_id == annotator_id)
    attempts = connection.execute(mine.order_by(table.attempt)).all()
    last = attempts[-1] if attempts else None
    left = max(0, campaign.qualification_attempts - sum(row.outcome == "failed" for row in attempts))
    left -= min(left, sum(row.outcome is None for row in attempts))
    answered, right = _given(connection, campaign.name, annotator_id, last.attempt) if last else (0, 0.0)
    state: State = "new" if left else "failed"
    if any(row.outcome in ("passed", "waived") for row in attempts):
        state = "passed"
    elif last is not None and last.outcome is None:
        state = "open"
    attempt = last.attempt if last else 0
    return Qualifying(campaign.name, annotator_id, state, attempt, answered, right, 0 if state == "passed" else left)


def must_qualify(
    connection: sa.Connection, annotator_id: str, campaigns: Mapping[str, Campaign]
) -> dict[str, Qualifying]:
    """The campaigns in which the person has yet to pass, by name; empty for whoever is simulated."""
    asking = [each for each in campaigns.values() if each.qualification]
    if not asking:
        return {}
    person = sa.select(tables.annotators.c.simulated).where(tables.annotators.c.id == annotator_id)
    if connection.execute(person).scalar():
        return {}
    found = {each.name: standing_of(connection, each, annotator_id) for each in asking}
    return {name: standing for name, standing in found.items() if standing.state != "passed"}


def kept_from(campaign: Campaign, qualifying: Mapping[str, Qualifying], campaigns: Mapping[str, Campaign]) -> bool:
    """Whether nothing but qualification is to be asked of the person in this campaign."""
    if campaign.is_verdict:
        return any(campaigns[name].kind == campaign.kind for name in qualifying)
    return campaign.name in qualifying


def task_to_qualify(
    connection: sa.Connection, campaign: Campaign, version: int, standing: Qualifying, time: str
) -> str | None:
    """The next task of the person's attempt, which is begun if need be; None if there is none to give."""
    who, tasks, own = standing.annotator_id, tables.tasks.c, qualification_tasks.c
    if standing.state == "open" and standing.answered >= campaign.qualification:  # fewer are asked than when it began
        _end_if_complete(connection, campaign, who, standing.attempt, time)
        return None
    if standing.state == "failed":
        return None
    judged = sa.exists().where(tables.judgements.c.task_id == tasks.id, tables.judgements.c.annotator_id == who)
    held = sa.exists().where(tables.leases.c.task_id == tasks.id, tables.leases.c.annotator_id == who)
    fresh = sa.select(tasks.id).where(tasks.campaign == campaign.name, tasks.version == version)
    fresh = fresh.where(sa.text(tables.GOLD), ~judged, ~held)
    mine = sa.select(own.task_id).where(own.annotator_id == who)
    attempt = standing.attempt
    if standing.state == "open":
        waiting = fresh.where(tasks.id.in_(mine.where(own.attempt == attempt, own.campaign == campaign.name)))
        again = connection.execute(waiting.order_by(tasks.id).limit(1)).scalar()
        if again is not None:
            return str(again)
    ids = connection.execute(fresh.where(tasks.id.not_in(mine))).scalars().all()
    if standing.state == "new":
        if len(ids) < campaign.qualification:
            return None
        attempt += 1
        row = {"campaign": campaign.name, "annotator_id": who, "attempt": attempt, "begun_at": time}
        connection.execute(sa.insert(qualifications), [row])
    if not ids:
        return None
    chosen = min(ids, key=lambda task_id: draw("qualification", who, task_id))
    row = {"task_id": chosen, "annotator_id": who, "campaign": campaign.name, "attempt": attempt}
    connection.execute(sa.insert(qualification_tasks), [row])
    return str(chosen)


def is_busy(connection: sa.Connection, annotator_id: str) -> bool:
    """Whether a task of a qualification round is before the person now."""
    leases, own = tables.leases.c, qualification_tasks.c
    held = sa.select(leases.task_id).where(leases.annotator_id == annotator_id)
    held = held.join(qualification_tasks, (own.task_id == leases.task_id) & (own.annotator_id == leases.annotator_id))
    return connection.execute(held.limit(1)).first() is not None


def take_answers(
    connection: sa.Connection, said: Sequence[Judgement], campaigns: Mapping[str, Campaign], time: str
) -> None:
    """Score those answers that are of a qualification round, and end the attempts that are complete."""
    if not any(each.qualification for each in campaigns.values()):
        return
    own = qualification_tasks.c
    rows = {(row.task_id, row.annotator_id): row for row in rows_in(connection, own.task_id, (s.task_id for s in said))}
    gold = {row.id: row for row in rows_in(connection, tables.tasks.c.id, (task_id for task_id, _ in rows))}
    for each in said:
        row = rows.get((each.task_id, each.annotator_id))
        if row is None or row.right is not None or each.action != "answer":
            continue
        task = tables.task_of(gold[each.task_id])
        scale = campaigns[row.campaign].scale
        right = 0.0 if task.gold is None else similarity(each.answer, task.gold, task, scale) or 0.0
        ours = (own.task_id == each.task_id) & (own.annotator_id == each.annotator_id)
        connection.execute(sa.update(qualification_tasks).where(ours).values(right=right))
        _end_if_complete(connection, campaigns[row.campaign], each.annotator_id, row.attempt, time)


def check_known_answers(campaign: Campaign, there: int) -> None:
    """Refuse a qualification round for which there are too few known answers."""
    needed = campaign.qualification * campaign.qualification_attempts
    if there < needed:
        raise UserError(
            f"label.qualification is {campaign.qualification} and label.qualification_attempts is "
            f"{campaign.qualification_attempts}: that takes {needed} known answers, for each attempt has others, and "
            f'the campaign "{campaign.name}" has {there}. Import more with '
            "`rlhf import --gold --format FORMAT FILE`, or ask for fewer."
        )


def is_final(connection: sa.Connection, task_id: str, annotator_id: str) -> bool:
    """Whether the person was told what the known answer is: theirs can be neither changed nor taken back."""
    own = qualification_tasks.c
    told = sa.select(own.right).where(own.task_id == task_id, own.annotator_id == annotator_id)
    return connection.execute(told).scalar() is not None


def final_answers(connection: sa.Connection, task_ids: Iterable[str]) -> set[tuple[str, str]]:
    """Those of these tasks, each with its annotator."""
    own = qualification_tasks.c
    return {
        (row.task_id, row.annotator_id) for row in rows_in(connection, own.task_id, task_ids) if row.right is not None
    }


def feedback_on(
    connection: sa.Connection, campaigns: Mapping[str, Campaign], task_id: str, who: str
) -> Feedback | None:
    """What to tell after an answer; None if it is not of a qualification round."""
    own = qualification_tasks.c
    told = sa.select(own.right, own.campaign, tables.tasks.c.gold).join(tables.tasks, tables.tasks.c.id == own.task_id)
    row = connection.execute(told.where(own.task_id == task_id, own.annotator_id == who)).first()
    if row is None or row.right is None or row.gold is None:
        return None
    return Feedback(tables.answer_of(row.gold), row.right, standing_of(connection, campaigns[row.campaign], who))


def still_to_give(campaign: Campaign, standing: Qualifying | None) -> int:
    """How many answers of its qualification round the person has before them."""
    if standing is None or standing.state in ("passed", "failed"):
        return 0
    return max(0, campaign.qualification - (standing.answered if standing.state == "open" else 0))


def qualifying_answers(connection: sa.Connection, campaign: str, annotator_id: str) -> int:
    """How many answers the person has given in qualification rounds of the campaign, in all attempts."""
    own = qualification_tasks.c
    given = sa.select(sa.func.count(own.right)).where(own.campaign == campaign, own.annotator_id == annotator_id)
    return int(connection.execute(given).scalar_one())


def standings(connection: sa.Connection, campaigns: Iterable[Campaign]) -> list[Qualifying]:
    """How everybody stands who has begun, by campaign and person."""
    found = []
    for campaign in campaigns:
        table = qualifications.c
        people = sa.select(table.annotator_id).where(table.campaign == campaign.name).distinct()
        for who in sorted(connection.execute(people).scalars()):
            found.append(standing_of(connection, campaign, who))
    return found


def reopen(connection: sa.Connection, campaign: Campaign, annotator_id: str) -> int:
    """Give the person all attempts again; returns how many ended ones count no more. What was answered is kept.

    `UserError` if nothing has ended, or too few known answers are left that the person has not seen.
    """
    table, tasks = qualifications.c, tables.tasks.c
    ended = (table.campaign == campaign.name) & (table.annotator_id == annotator_id)
    ended &= table.outcome.in_(("passed", "failed", "waived"))
    number = connection.execute(sa.select(sa.func.count()).select_from(qualifications).where(ended)).scalar_one()
    if not number:
        raise UserError(f'nobody of that name has ended an attempt in the campaign "{campaign.name}".')
    seen = sa.exists().where(tables.judgements.c.task_id == tasks.id, tables.judgements.c.annotator_id == annotator_id)
    fresh = sa.select(sa.func.count()).select_from(tables.tasks).where(tasks.campaign == campaign.name)
    there = connection.execute(fresh.where(sa.text(tables.GOLD), ~seen)).scalar_one()
    if there < campaign.qualification:
        raise UserError(
            f'the campaign "{campaign.name}" has {there} known answers that this person has not seen, and an attempt '
            f"takes {campaign.qualification}: import more with `rlhf import --gold --format FORMAT FILE`, or let "
            "them pass with --passed."
        )
    connection.execute(sa.update(qualifications).where(ended).values(outcome="reset"))
    return int(number)


def let_pass(connection: sa.Connection, campaign: Campaign, annotator_id: str, time: str) -> None:
    """Take the person as qualified, whatever they answered."""
    standing = standing_of(connection, campaign, annotator_id)
    row = {"campaign": campaign.name, "annotator_id": annotator_id, "attempt": standing.attempt + 1}
    connection.execute(sa.insert(qualifications), [{**row, "begun_at": time, "ended_at": time, "outcome": "waived"}])


def _given(connection: sa.Connection, campaign: str, annotator_id: str, attempt: int) -> tuple[int, float]:
    own = qualification_tasks.c
    given = sa.select(sa.func.count(own.right), sa.func.coalesce(sa.func.sum(own.right), 0.0))
    given = given.where(own.campaign == campaign, own.annotator_id == annotator_id, own.attempt == attempt)
    row: Any = connection.execute(given).one()
    return int(row[0]), float(row[1])


def _end_if_complete(connection: sa.Connection, campaign: Campaign, annotator_id: str, attempt: int, time: str) -> None:
    answered, right = _given(connection, campaign.name, annotator_id, attempt)
    if not campaign.qualification or answered < campaign.qualification:
        return
    outcome = "passed" if right / answered >= campaign.qualification_share - _NEARLY else "failed"
    table = qualifications.c
    ours = (table.campaign == campaign.name) & (table.annotator_id == annotator_id) & (table.attempt == attempt)
    ended = sa.update(qualifications).where(ours, table.outcome.is_(None))
    connection.execute(ended.values(outcome=outcome, ended_at=time))
