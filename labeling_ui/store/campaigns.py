"""Campaigns in the store, with their versions: each function works in the transaction that it is given.

Every change of settings is logged. One that changes what an answer means (`Campaign.meaning`) begins a new version once
anybody has been asked: the tasks of the version before are closed, each has a counterpart in the new one, and whatever
was said keeps its version. Another kind is a new version as soon as there are tasks, and asks about the same responses
(`assignment/regrouping.py`). Any other change applies at once, also to open tasks.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.regrouping import regrouped
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Task
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules.adaptive_overlap import follow_votes
from labeling_ui.store.database import insert_new, rows_in
from labeling_ui.store.review.standing import naming_their_model

_SETTINGS, _NOW = tables.campaign_settings.c, tables.campaigns.c
# Read with every answer, so made once. Settings are read as text, so that no text is parsed twice.
_LOG = (
    sa.select(
        _SETTINGS.number, _SETTINGS.campaign, _SETTINGS.version, _NOW.number.label("made"),
        sa.cast(_SETTINGS.settings, sa.Text).label("settings"),
    )
    .select_from(tables.campaign_settings.outerjoin(tables.campaigns, _NOW.current == _SETTINGS.number))
    .order_by(_SETTINGS.number)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a campaign with the settings that it has, or had last; `number` is their row in the log."""

    campaign: Campaign
    version: int
    number: int


@dataclass(frozen=True, slots=True)
class Campaigns:
    """All campaigns of a store: `now` by name, in the order in which they were made; and every version of each."""

    now: dict[str, Version]
    versions: dict[tuple[str, int], Version]

    @property
    def settings(self) -> dict[str, Campaign]:
        """The settings that each campaign has now, by name."""
        return {name: each.campaign for name, each in self.now.items()}


def read_campaigns(connection: sa.Connection) -> Campaigns:
    """All campaigns, in one statement: whoever needs them more than once in a transaction hands them on."""
    rows = connection.execute(_LOG).all()
    last = {(row.campaign, row.version): row for row in rows}
    current = sorted((row for row in rows if row.made is not None), key=lambda row: (row.made, row.campaign))
    last |= {(row.campaign, row.version): row for row in current}
    versions = {key: _version(row) for key, row in last.items()}
    return Campaigns({row.campaign: versions[row.campaign, row.version] for row in current}, versions)


def campaigns_of(connection: sa.Connection) -> dict[str, Version]:
    """All campaigns by name as they are now, in the order in which they were made."""
    return read_campaigns(connection).now


def settings_now(connection: sa.Connection) -> dict[str, Campaign]:
    """The settings that each campaign has now, by name."""
    return read_campaigns(connection).settings


def asked_alike(campaigns: Iterable[Campaign]) -> str | None:
    """The name of the first pairwise campaign, from which annotators cannot tell a verdict; None if there is none."""
    return next((each.name for each in campaigns if each.kind == "pairwise" and not each.is_verdict), None)


def versions_of(connection: sa.Connection) -> dict[tuple[str, int], Version]:
    """Every version of every campaign, by name and version."""
    return read_campaigns(connection).versions


def add_campaign(connection: sa.Connection, new: Campaign, time: str) -> None:
    """Add a campaign, or give one of that name new settings; `UserError` if its responses do not fit its new kind."""
    known = campaigns_of(connection).get(new.name)
    if known is None:
        last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(tables.campaigns.c.number), 0))).scalar_one()
        number = log_settings(connection, new, 1, time)
        row = {"name": new.name, "number": last + 1, "current": number}
        connection.execute(sa.insert(tables.campaigns), [row])
        return
    if known.campaign == new:
        return
    renewed = known.campaign.meaning != new.meaning and (
        _was_asked(connection, new.name, known.version)
        or (known.campaign.kind != new.kind and _has_tasks(connection, new.name, known.version))
    )
    version = known.version + renewed
    number = log_settings(connection, new, version, time)
    ours = tables.campaigns.c.name == new.name
    connection.execute(sa.update(tables.campaigns).where(ours).values(current=number))
    if renewed:
        _close(connection, new.name, known.version)
        _ask_anew(connection, new, known, version)
        return
    if known.campaign.overlap != new.overlap:
        _change_overlap(connection, new.name, version, new.overlap)
    if known.campaign.votes_wanted != new.votes_wanted:
        follow_votes(connection, new)


def close_campaign(connection: sa.Connection, name: str, time: str) -> None:
    """Ask nothing more in a campaign: it begins a version without tasks. `UserError` if there is none of that name."""
    known = campaigns_of(connection).get(name)
    if known is None:
        raise UserError(f'there is no campaign "{name}" in this label store.')
    number = log_settings(connection, known.campaign, known.version + 1, time)
    ours = tables.campaigns.c.name == name
    connection.execute(sa.update(tables.campaigns).where(ours).values(current=number))
    _close(connection, name, known.version)


def for_training(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Whether a row of `tasks` is of a campaign that is learned from, and not of a verdict."""
    verdicts = [name for name, now in campaigns_of(connection).items() if now.campaign.is_verdict]
    return tables.tasks.c.campaign.not_in(verdicts)


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
    rows = connection.execute(_LOG)
    return {row.number: _version(row) for row in rows}


def _version(row: "sa.Row[tuple[object, ...]]") -> Version:
    return Version(_campaign(row.settings), row.version, row.number)


@lru_cache(500)
def _campaign(settings: str) -> Campaign:
    return Campaign.model_validate_json(settings)


def _has_tasks(connection: sa.Connection, name: str, version: int) -> bool:
    tasks = tables.tasks.c
    any_task = sa.select(tasks.id).where(tasks.campaign == name, tasks.version == version).limit(1)
    return connection.execute(any_task).first() is not None


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
    """A task of the new version for each that everybody was asked in the old one; of another kind, other tasks."""
    tasks = tables.tasks.c
    asked = sa.select(tables.tasks).where(tasks.campaign == new.name, tasks.version == old.version)
    asked = asked.where(tasks.state != "removed")
    earlier = connection.execute(asked.where(tasks.reserved_for.is_(None))).all()
    if new.kind != old.campaign.kind:
        shown = (one for row in earlier if row.flagged for one in row.candidates)
        flagged = naming_their_model(rows_in(connection, tables.candidates.c.id, shown))
        insert_new(connection, tables.tasks, _of_new_kind(earlier, flagged, new, old, version))
        return
    rows = []
    for row in earlier:
        gold = row.gold
        if gold is not None and (new.scale != old.campaign.scale or not set(gold.get("ratings", {})) <= {*new.aspects}):
            continue  # nobody has said what its answer is now
        before = tables.task_of(row)
        task = Task(before.prompt_id, before.candidates, new.name, before.gold, version=version)
        kept = old.campaign.overlap == new.overlap
        first = row.first_overlap if kept or row.first_overlap is None else new.overlap
        overlap = first or (row.overlap if kept else new.overlap)
        state = "paused" if row.state == "paused" else "open"
        like_it = {"priority": row.priority, "flagged": row.flagged, "state": state}
        rows.append({**tables.task_row(task, overlap, first), **like_it})
    insert_new(connection, tables.tasks, rows)


def _of_new_kind(
    before: Sequence[sa.Row[Any]], flagged: Set[str], new: Campaign, old: Version, version: int
) -> list[dict[str, Any]]:
    """Tasks about the same responses, without those of known answers: nobody has said what these are now.

    Where one was paused, those of its prompt are paused. `flagged` are the candidates that name their model.
    `UserError` if there are responses and none can be compared.
    """
    of_prompt: dict[str, list[sa.Row[Any]]] = {}
    for row in before:
        if row.gold is None:
            of_prompt.setdefault(row.prompt_id, []).append(row)
    made = []
    for prompt_id, rows in of_prompt.items():
        kept = old.campaign.overlap == new.overlap
        overlap = max(row.first_overlap or row.overlap for row in rows) if kept else new.overlap
        first = overlap if all(row.first_overlap for row in rows) else None
        priority = max(row.priority for row in rows)
        state = "paused" if any(row.state == "paused" for row in rows) else "open"
        for group in regrouped((one for row in rows for one in row.candidates), new):
            task = Task(prompt_id, group, new.name, version=version)
            like_it = {"priority": priority, "state": state, "flagged": not flagged.isdisjoint(group)}
            made.append({**tables.task_row(task, overlap, first), **like_it})
    if of_prompt and not made:
        raise UserError(
            f'the campaign "{new.name}" ({old.campaign.kind}) has no two responses to one prompt: by {new.kind}, '
            f"nobody would be asked. Give the {new.kind} campaign another name, and tasks of its own: `rlhf collect "
            f"--set label.kind={new.kind} --set label.name={new.kind}`, or `rlhf import --format FORMAT FILE` "
            "with the same settings."
        )
    return made


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
    first = sa.case((tasks.first_overlap.is_not(None), overlap))
    connection.execute(sa.update(tables.tasks).where(*unfinished).values(overlap=overlap, first_overlap=first))
