"""Who may work on a campaign, how much, and until when; and in which order campaigns come.

What is refused here is dealing alone: an answer to a task that was dealt before is kept, whenever it comes. Each
function works in the transaction that it is given.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules.rule_tables import campaign_people, qualification_tasks
from labeling_ui.store.database import insert_new

Reason = Literal["people", "deadline", "quota"]
_PEOPLE = sa.select(campaign_people)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one person: why a campaign asks nothing of them, by name, and how many answers others may still ask for."""

    closed: Mapping[str, Reason]
    left: Mapping[str, int]


def limits_of(
    connection: sa.Connection, annotator_id: str, campaigns: Mapping[str, Campaign], people: Mapping[str, set[str]],
    now: float,
) -> Limits:  # fmt: skip
    """What the campaigns allow the person at this time (seconds since 1970); what they hold counts as answered.

    `people` are those of `people_of`.
    """
    closed: dict[str, Reason] = {}
    left: dict[str, int] = {}
    for campaign in campaigns.values():
        if campaign.name in people and annotator_id not in people[campaign.name]:
            closed[campaign.name] = "people"
        elif campaign.deadline is not None and campaign.deadline.timestamp() <= now:
            closed[campaign.name] = "deadline"
        elif campaign.quota is not None:
            held = _held(connection, campaign.name, annotator_id)
            left[campaign.name] = max(0, campaign.quota - answered(connection, campaign.name, annotator_id) - held)
            if not left[campaign.name]:
                closed[campaign.name] = "quota"
    return Limits(closed, left)


def people_of(connection: sa.Connection) -> dict[str, set[str]]:
    """The ids of those who may work on each campaign that is not for everybody."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in connection.execute(_PEOPLE):
        found[row.campaign].add(row.annotator_id)
    return dict(found)


def assign(connection: sa.Connection, campaign: str, annotator_ids: Sequence[str]) -> None:
    """Add people to those who may work on the campaign; the first make it theirs alone."""
    rows = [{"campaign": campaign, "annotator_id": who} for who in annotator_ids]
    insert_new(connection, campaign_people, rows)


def take_off(connection: sa.Connection, campaign: str, annotator_ids: Sequence[str]) -> None:
    """Take people off a campaign. `UserError` if one is not on it, or nobody would be left."""
    there = people_of(connection).get(campaign, set())
    if not there >= set(annotator_ids):
        raise UserError(f'not all of these people are assigned to the campaign "{campaign}". See the admin page.')
    if there == set(annotator_ids):
        raise UserError(
            f'nobody would be left to work on the campaign "{campaign}". Assign others first, or open it with '
            "--everybody."
        )
    theirs = campaign_people.c.annotator_id.in_(annotator_ids) & (campaign_people.c.campaign == campaign)
    connection.execute(sa.delete(campaign_people).where(theirs))


def open_to_everybody(connection: sa.Connection, campaign: str) -> None:
    """Let everybody work on the campaign."""
    connection.execute(sa.delete(campaign_people).where(campaign_people.c.campaign == campaign))


def answered(connection: sa.Connection, campaign: str, annotator_id: str) -> int:
    """How many answers of the person are in force in the campaign; a skip is none, nor is a qualification answer."""
    judgements, events, tasks = tables.judgements.c, tables.events.c, tables.tasks.c
    given = sa.select(sa.func.count()).select_from(tables.judgements)
    given = given.join(tables.events, events.number == judgements.event).join(tables.tasks, tasks.id == events.task_id)
    given = given.where(judgements.annotator_id == annotator_id, tasks.campaign == campaign, events.verdict != "skip")
    own = qualification_tasks.c
    given = given.where(~sa.exists().where(own.task_id == tasks.id, own.annotator_id == annotator_id))
    return int(connection.execute(given).scalar_one())


def check_limits(connection: sa.Connection, before: Campaign | None, new: Campaign, now: float) -> None:
    """Raise `UserError` for limits that make no sense and are new: those that stand already were sensible once."""
    if new.deadline is not None and new.deadline != (before and before.deadline) and new.deadline.timestamp() <= now:
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="minutes")
        raise UserError(
            f"label.deadline is {new.deadline.isoformat()}, which is over: it is {at}. Nobody would be asked anything "
            f'in the campaign "{new.name}". Choose a later time, or null for none.'
        )
    if new.quota is not None and new.quota != (before and before.quota):
        _check_quota(connection, new)


def _check_quota(connection: sa.Connection, new: Campaign) -> None:
    names = connection.execute(sa.select(tables.annotators.c.id, tables.annotators.c.name)).all()
    most = max(((answered(connection, new.name, row.id), row.name) for row in names), default=(0, ""))
    if new.quota is not None and most[0] > new.quota:
        raise UserError(
            f'label.quota is {new.quota}, and {most[1]} has answered {most[0]} in the campaign "{new.name}" already. '
            f"Give a quota of {most[0]} or more, or null for none."
        )


def _held(connection: sa.Connection, campaign: str, annotator_id: str) -> int:
    leases, tasks = tables.leases.c, tables.tasks.c
    held = sa.select(sa.func.count()).select_from(tables.leases).join(tables.tasks, tasks.id == leases.task_id)
    return int(
        connection.execute(held.where(leases.annotator_id == annotator_id, tasks.campaign == campaign)).scalar_one()
    )
