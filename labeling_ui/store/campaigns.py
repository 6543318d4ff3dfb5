"""Campaigns in the store, with their versions: each function works in the transaction that it is given.

Every change of settings is logged. One that changes what an answer means (`Campaign.meaning`) begins a new version once
anybody has been asked: the tasks of the version before are closed, each has a counterpart in the new one, and whatever
was said keeps its version. Any other change applies at once, also to open tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Task
from labeling_ui.store import tables
from labeling_ui.store.database import insert_new


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a campaign with the settings that it has, or had last; `number` is their row in the log."""

    campaign: Campaign
    version: int
    number: int


def campaigns_of(connection: sa.Connection) -> dict[str, Version]:
    """All campaigns by name as they are now, in the order in which they were made."""
    campaigns, settings = tables.campaigns.c, tables.campaign_settings
    now = sa.select(settings, campaigns.number.label("made"))
    rows = connection.execute(now.join(tables.campaigns, campaigns.current == settings.c.number)).all()
    return {row.campaign: _version(row) for row in sorted(rows, key=lambda row: (row.made, row.campaign))}


def versions_of(connection: sa.Connection) -> dict[tuple[str, int], Version]:
    """Every version of every campaign, by name and version."""
    rows = connection.execute(sa.select(tables.campaign_settings).order_by(tables.campaign_settings.c.number))
    found = {(name, version.version): version for name, version in campaigns_of(connection).items()}
    last = {(row.campaign, row.version): row for row in rows}
    return {key: found.get(key) or _version(row) for key, row in last.items()}


def add_campaign(connection: sa.Connection, new: Campaign, time: str) -> None:
    """Add a campaign, or give one of that name new settings; `UserError` if its tasks are of another kind."""
    known = campaigns_of(connection).get(new.name)
    if known is None:
        last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(tables.campaigns.c.number), 0))).scalar_one()
        number = log_settings(connection, new, 1, time)
        row = {"name": new.name, "number": last + 1, "current": number}
        connection.execute(sa.insert(tables.campaigns), [row])
        return
    if known.campaign == new:
        return
    if known.campaign.kind != new.kind:
        _check_no_tasks(connection, known.campaign, new)
    renewed = known.campaign.meaning != new.meaning and _was_asked(connection, new.name, known.version)
    version = known.version + renewed
    number = log_settings(connection, new, version, time)
    ours = tables.campaigns.c.name == new.name
    connection.execute(sa.update(tables.campaigns).where(ours).values(current=number))
    if renewed:
        _close(connection, new.name, known.version)
        _ask_anew(connection, new, known, version)
    elif known.campaign.overlap != new.overlap:
        _change_overlap(connection, new.name, version, new.overlap)


def log_settings(connection: sa.Connection, campaign: Campaign, version: int, time: str) -> int:
    """Append settings to the log; returns their number."""
    settings = tables.campaign_settings
    last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(settings.c.number), 0))).scalar_one()
    row = {
        "number": last + 1, "campaign": campaign.name, "version": version,
        "settings": campaign.model_dump(mode="json"), "created_at": time,
    }  # fmt: skip
    connection.execute(sa.insert(settings), [row])
    return int(last) + 1


def is_current() -> sa.ColumnElement[bool]:
    """Whether a row of `tasks` is of the newest version of its campaign."""
    tasks, settings = tables.tasks.c, tables.campaign_settings.c
    newest = sa.select(settings.version).join(tables.campaigns, tables.campaigns.c.current == settings.number)
    return tasks.version == newest.where(tables.campaigns.c.name == tasks.campaign).scalar_subquery()


def settings_by_number(connection: sa.Connection) -> Mapping[int, Version]:
    """Every row of the log."""
    rows = connection.execute(sa.select(tables.campaign_settings).order_by(tables.campaign_settings.c.number))
    return {row.number: _version(row) for row in rows}


def _version(row: "sa.Row[tuple[object, ...]]") -> Version:
    return Version(Campaign.model_validate(row.settings), row.version, row.number)


def _check_no_tasks(connection: sa.Connection, known: Campaign, new: Campaign) -> None:
    of_it = sa.select(sa.func.count()).select_from(tables.tasks).where(tables.tasks.c.campaign == new.name)
    number = int(connection.execute(of_it).scalar_one())
    if number:
        raise UserError(
            f'the campaign "{new.name}" has {known.kind} tasks already ({number} of them), which nobody can answer by '
            f"{new.kind}. Give the {new.kind} campaign another name, and tasks of its own: `rlhf collect --set "
            f"label.kind={new.kind} --set label.name={new.kind}`, or `rlhf import` with the same settings."
        )


def _was_asked(connection: sa.Connection, name: str, version: int) -> bool:
    """Whether anything was said of the version's tasks (even if it was withdrawn), or is about to be."""
    tasks = tables.tasks.c
    for table in (tables.events, tables.leases):
        asked = sa.select(tasks.id).join(table, table.c.task_id == tasks.id)
        if connection.execute(asked.where(tasks.campaign == name, tasks.version == version).limit(1)).first():
            return True
    return False


def _close(connection: sa.Connection, name: str, version: int) -> None:
    """Take the version's tasks back from whoever holds them; an answer that is on its way is kept as it was meant."""
    tasks, leases = tables.tasks, tables.leases
    of_it = sa.select(tasks.c.id).where(tasks.c.campaign == name, tasks.c.version == version)
    held = sa.select(sa.func.count()).where(leases.c.task_id == tasks.c.id).scalar_subquery()
    counted = sa.update(tasks).where(tasks.c.id.in_(of_it)).values(taken=tasks.c.taken - held)
    connection.execute(counted)
    connection.execute(sa.delete(leases).where(leases.c.task_id.in_(of_it)))


def _ask_anew(connection: sa.Connection, new: Campaign, old: Version, version: int) -> None:
    """A task of the new version for each that everybody was asked in the old one."""
    tasks = tables.tasks.c
    asked = sa.select(tables.tasks).where(tasks.campaign == new.name, tasks.version == old.version)
    rows = []
    for row in connection.execute(asked.where(tasks.reserved_for.is_(None))).all():
        gold = row.gold
        if gold is not None and (new.scale != old.campaign.scale or not set(gold.get("ratings", {})) <= {*new.aspects}):
            continue  # nobody has said what its answer is now
        before = tables.task_of(row)
        task = Task(before.prompt_id, before.candidates, new.name, before.gold, version=version)
        overlap = row.overlap if old.campaign.overlap == new.overlap else new.overlap
        rows.append({**tables.task_row(task, overlap), "priority": row.priority})
    insert_new(connection, tables.tasks, rows)


def _change_overlap(connection: sa.Connection, name: str, version: int, overlap: int) -> None:
    """Let so many annotators judge each task that is not finished yet."""
    tasks, judgements, events = tables.tasks.c, tables.judgements.c, tables.events.c
    answers = sa.select(sa.func.count()).select_from(tables.judgements)
    answers = answers.join(tables.events, events.number == judgements.event)
    answers = answers.where(judgements.task_id == tasks.id, events.verdict != "skip")
    unfinished = (
        tasks.campaign == name, tasks.version == version, tasks.gold.is_(sa.null()), tasks.reserved_for.is_(None),
        answers.scalar_subquery() < tasks.overlap,
    )  # fmt: skip
    connection.execute(sa.update(tables.tasks).where(*unfinished).values(overlap=overlap))
