"""What is to be told of each campaign: that it is done, that it stalls. Agreement is looked at in `agreement.py`.

A campaign stalls from its last answer on, or from what asked for answers since: new settings, tasks that a lead gave
back, or tasks that came after it was done. Each function works in the transaction that it is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from labeling_ui.notices.keeping import Kind, lasting
from labeling_ui.store import progress, tables
from labeling_ui.store.campaign_rules.rule_tables import notices
from labeling_ui.store.campaigns import Version, campaigns_of


@dataclass(frozen=True, slots=True)
class Occasion:
    """Whether something is so in a campaign now, and what is to be told if it is."""

    campaign: str
    kind: Kind
    now: bool
    text: str = ""


def occasions(connection: sa.Connection, now: float, stall_hours: float) -> Iterator[Occasion]:
    """For each campaign, whether it is done, and whether it stalls, at `now` (seconds since 1970)."""
    for version in campaigns_of(connection).values():
        yield from _of(connection, version, now, stall_hours)


def _of(connection: sa.Connection, version: Version, now: float, stall_hours: float) -> Iterator[Occasion]:
    campaign, name = version.campaign, version.campaign.name
    lacking = progress.waiting(connection, name)
    by_state = _tasks(connection, version)
    judged = by_state.get("open", 0) + by_state.get("decided", 0)
    answers, last = _answers(connection, name)
    done = not lacking and bool(judged and answers) and not by_state.get("paused")
    yield Occasion(name, "done", done, f"{judged} tasks have all the answers that they need.")
    over = campaign.deadline is not None and campaign.deadline.timestamp() <= now
    again = (name, "done") in lasting(connection)  # and is not any more: there are new tasks
    since = max(filter(None, (last, *_asked_since(connection, version))), default=now)
    hours = (now - since) / 3600
    stalls = bool(lacking) and not over and not again and hours >= stall_hours
    text = f"No answer has come for {round(hours, 1):g} hours, and {lacking} are lacking."
    if campaign.deadline is not None:
        text += f" The deadline is {campaign.deadline.isoformat(sep=' ', timespec='minutes')}."
    yield Occasion(name, "stalled", stalls, text)


def _tasks(connection: sa.Connection, version: Version) -> dict[str, int]:
    """How many tasks that everybody is asked are in each state."""
    tasks = tables.tasks.c
    number = sa.select(tasks.state, sa.func.count()).where(tasks.campaign == version.campaign.name)
    number = number.where(tasks.version == version.version, tasks.gold.is_(sa.null()), tasks.reserved_for.is_(None))
    return {state: count for state, count in connection.execute(number.group_by(tasks.state))}


def _answers(connection: sa.Connection, campaign: str) -> tuple[int, float | None]:
    """The newest event in the campaign, 0 if there is none, and when it came."""
    events, tasks = tables.events.c, tables.tasks.c
    newest = sa.select(events.number, events.created_at).join(tables.tasks, tasks.id == events.task_id)
    row = connection.execute(newest.where(tasks.campaign == campaign).order_by(events.number.desc()).limit(1)).first()
    return (0, None) if row is None else (row.number, _seconds(row.created_at))


def _asked_since(connection: sa.Connection, version: Version) -> Iterator[float | None]:
    """When its settings came to apply, when its tasks were last changed, and when it was last done no more."""
    name, settings, changes = version.campaign.name, tables.campaign_settings.c, tables.task_changes.c
    yield _seconds(
        connection.execute(sa.select(settings.created_at).where(settings.number == version.number)).scalar_one()
    )
    changed = sa.select(sa.func.max(changes.created_at)).join(tables.tasks, tables.tasks.c.id == changes.task_id)
    yield _seconds(connection.execute(changed.where(tables.tasks.c.campaign == name)).scalar())
    undone = sa.select(sa.func.max(notices.c.ended_at)).where(notices.c.campaign == name, notices.c.kind == "done")
    yield connection.execute(undone).scalar()


def _seconds(written: str | None) -> float | None:
    """The time in seconds since 1970; None for one that was imported and cannot be read."""
    try:
        found = datetime.fromisoformat(written or "")
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
