"""The hash of a label set: whether two stores hold the same labels, whatever else is in them; and what was asked."""

import hashlib
import json
from collections import defaultdict

import sqlalchemy as sa

from labeling_ui.campaign import Campaign
from labeling_ui.store import tables
from labeling_ui.store.campaigns import for_training, settings_by_number


def label_set_hash(connection: sa.Connection, until: int | None = None) -> str:
    """sha256 over the judgements in force: the task, how it was shown, what was asked and what was said.

    Neither the order of arrival nor times, keys, names and ids of annotators count: only which judgements are the same
    annotator's, and whether that one is simulated. A reviewer's decision counts as one, beside the judgements on its
    task. What was said in a verdict, or of a removed task, is no label. With `until`, of what is in
    force now only the judgements up to the event of that number: labels that came later make no difference.
    """
    events, judgements, annotators = tables.events, tables.judgements, tables.annotators
    asked = {number: each.campaign.asked for number, each in settings_by_number(connection).items()}
    simulated = {
        row.id: row.simulated for row in connection.execute(sa.select(annotators.c.id, annotators.c.simulated))
    }
    in_force = sa.select(events.c.task_id, events.c.annotator_id, events.c.shown, events.c.answer, events.c.settings)
    in_force = in_force.join(judgements, judgements.c.event == events.c.number)
    learned_from = (for_training(connection), tables.tasks.c.state != "removed")
    in_force = in_force.join(tables.tasks, tables.tasks.c.id == events.c.task_id).where(*learned_from)
    if until is not None:
        in_force = in_force.where(events.c.number <= until)
    by_annotator: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(in_force):
        fields = [row.task_id, row.shown, asked[row.settings], row.answer]
        line = json.dumps(fields, ensure_ascii=False, sort_keys=True)
        by_annotator[row.annotator_id].append(hashlib.sha256(line.encode()).hexdigest())
    decided = sa.select(events.c.number, events.c.task_id, events.c.answer, events.c.settings)
    decided = decided.join(tables.adjudications, tables.adjudications.c.event == events.c.number)
    decided = decided.join(tables.tasks, tables.tasks.c.id == events.c.task_id).where(*learned_from)
    decisions = [
        json.dumps(["decided", row.task_id, asked[row.settings], row.answer], ensure_ascii=False, sort_keys=True)
        for row in connection.execute(decided)
        if until is None or row.number <= until
    ]
    each = sorted(json.dumps([simulated[who], sorted(lines)]) for who, lines in by_annotator.items())
    each += sorted(decisions)
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


def asked_in(connection: sa.Connection) -> list[tuple[Campaign, int]]:
    """The settings under which labels in force were given, the earliest first, each with the number of its labels.

    Settings that were never answered under are left out, and so are verdicts, known answers, repeats and removed tasks.
    """
    events, tasks = tables.events.c, tables.tasks.c
    in_force = sa.union_all(sa.select(tables.judgements.c.event), sa.select(tables.adjudications.c.event)).subquery()
    counted = sa.select(events.settings, sa.func.count()).join(in_force, in_force.c.event == events.number)
    counted = counted.join(tables.tasks, tasks.id == events.task_id)
    counted = counted.where(for_training(connection), tasks.state != "removed")
    counted = counted.where(tasks.gold.is_(sa.null()), tasks.repeat_of.is_(None))
    rows = connection.execute(counted.group_by(events.settings).order_by(events.settings))
    settings = settings_by_number(connection)
    return [(settings[number].campaign, judgements) for number, judgements in rows]
