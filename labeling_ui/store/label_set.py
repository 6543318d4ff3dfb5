"""The hash of a label set: whether two stores hold the same labels, whatever else is in them."""

import hashlib
import json
from collections import defaultdict

import sqlalchemy as sa

from labeling_ui.store import tables
from labeling_ui.store.campaigns import settings_by_number


def label_set_hash(connection: sa.Connection) -> str:
    """sha256 over the judgements in force: the task, how it was shown, what was asked and what was said.

    Neither the order of arrival nor times, keys, names and ids of annotators count: only which judgements are the same
    annotator's, and whether that one is simulated.
    """
    events, judgements, annotators = tables.events, tables.judgements, tables.annotators
    asked = {number: each.campaign.asked for number, each in settings_by_number(connection).items()}
    simulated = {
        row.id: row.simulated for row in connection.execute(sa.select(annotators.c.id, annotators.c.simulated))
    }
    in_force = sa.select(events.c.task_id, events.c.annotator_id, events.c.shown, events.c.answer, events.c.settings)
    in_force = in_force.join(judgements, judgements.c.event == events.c.number)
    by_annotator: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(in_force):
        fields = [row.task_id, row.shown, asked[row.settings], row.answer]
        line = json.dumps(fields, ensure_ascii=False, sort_keys=True)
        by_annotator[row.annotator_id].append(hashlib.sha256(line.encode()).hexdigest())
    each = sorted(json.dumps([simulated[who], sorted(lines)]) for who, lines in by_annotator.items())
    return hashlib.sha256("\n".join(each).encode()).hexdigest()
