"""Keeping the overlap of tasks in step with the votes on them, where a campaign asks more annotators in doubt.

`tasks.overlap` is what a task needs now: dealing, progress and what is waited for read nothing else. It follows in the
transaction of every answer, edit, undo and deletion, from the skills that were last estimated; when skills or settings
change, all tasks of the campaign follow. Each function works in the writing transaction that it is given.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from labeling_ui.assignment.adaptive_overlap import ASSUMED, overlap_wanted
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules.rule_tables import annotator_skills
from labeling_ui.store.database import rows_in

_CHUNK = 2000


def follow_votes(connection: sa.Connection, campaign: Campaign, task_ids: Iterable[str] | None = None) -> int:
    """Let these tasks of the campaign, or all, need as many annotators as their votes call for.

    Returns how many changed.
    """
    tasks = tables.tasks.c
    if task_ids is None:
        every = sa.select(tasks.id).where(tasks.campaign == campaign.name, tasks.first_overlap.is_not(None))
        ids = list(connection.execute(every).scalars())
        return sum(_follow(connection, campaign, ids[at : at + _CHUNK]) for at in range(0, len(ids), _CHUNK))
    return _follow(connection, campaign, task_ids)


def follow_answers(connection: sa.Connection, campaigns: Mapping[str, Campaign], task_ids: Iterable[str]) -> None:
    """The same after something was said of tasks of any campaign; `campaigns` are as they are now, by name."""
    adaptive = [each for each in campaigns.values() if each.max_overlap is not None]
    ids = set(task_ids) if adaptive else set()
    for campaign in adaptive:
        _follow(connection, campaign, ids)


def set_skills(connection: sa.Connection, campaign: str, accuracies: Mapping[str, float]) -> None:
    """Remember how often each annotator of the campaign is right, by id; nothing is known of anybody else."""
    connection.execute(sa.delete(annotator_skills).where(annotator_skills.c.campaign == campaign))
    there = {row.id for row in rows_in(connection, tables.annotators.c.id, accuracies)}
    rows = [
        {"campaign": campaign, "annotator_id": one, "accuracy": float(accuracy)}
        for one, accuracy in accuracies.items()
        if one in there
    ]
    if rows:
        connection.execute(sa.insert(annotator_skills), rows)


def _follow(connection: sa.Connection, campaign: Campaign, task_ids: Iterable[str]) -> int:
    changes = changes_wanted(connection, campaign, task_ids)
    if changes:
        change = sa.update(tables.tasks).where(tables.tasks.c.id == sa.bindparam("of_task"))
        rows = [{"of_task": task_id, "to": wanted} for task_id, wanted in changes.items()]
        connection.execute(change.values(overlap=sa.bindparam("to")), rows)
    return len(changes)


def changes_wanted(connection: sa.Connection, campaign: Campaign, task_ids: Iterable[str]) -> dict[str, int]:
    """Of these tasks of the campaign, those that need another overlap than they have, and which."""
    rows = [
        row
        for row in rows_in(connection, tables.tasks.c.id, task_ids)
        if row.campaign == campaign.name and row.first_overlap is not None
    ]
    votes = _votes(connection, [row.id for row in rows]) if rows and campaign.max_overlap is not None else {}
    return {
        row.id: wanted
        for row in rows
        if (wanted := overlap_wanted(campaign, row.first_overlap, votes.get(row.id, []))) != row.overlap
    }


def _votes(connection: sa.Connection, task_ids: Iterable[str]) -> dict[str, list[tuple[Answer, float]]]:
    """By task: each answer in force that is no skip, and how often its annotator is right."""
    judgements, events, skills = tables.judgements, tables.events, annotator_skills
    said = sa.select(judgements.c.task_id, judgements.c.annotator_id, events.c.answer, skills.c.accuracy)
    said = said.join(events, events.c.number == judgements.c.event)
    said = said.join(tables.tasks, tables.tasks.c.id == judgements.c.task_id)
    theirs = (skills.c.campaign == tables.tasks.c.campaign) & (skills.c.annotator_id == judgements.c.annotator_id)
    said = said.outerjoin(skills, theirs).where(events.c.verdict != "skip")
    found: dict[str, list[tuple[Answer, float]]] = defaultdict(list)
    for row in sorted(rows_in(connection, judgements.c.task_id, task_ids, said), key=lambda row: row.annotator_id):
        accuracy = ASSUMED if row.accuracy is None else row.accuracy
        found[row.task_id].append((tables.answer_of(row.answer), accuracy))
    return found
