"""What tasks are found by: their newest event, how far their answers are from one another, and flagged responses.

Kept in the transaction that changes it, so that a page of tasks needs no counting.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from labeling_ui.assignment.answer_comparison import disagreement
from labeling_ui.assignment.self_identification import names_its_model
from labeling_ui.data_model import Answer
from labeling_ui.store import tables
from labeling_ui.store.database import rows_in

if TYPE_CHECKING:
    from labeling_ui.store.campaigns import Version

    Versions = Mapping[tuple[str, int], Version]

_JUDGEMENTS, _EVENTS = tables.judgements.c, tables.events.c
SAID = sa.select(_JUDGEMENTS.task_id, _JUDGEMENTS.annotator_id, _EVENTS.answer, _EVENTS.shown, _EVENTS.verdict).join(
    tables.events, _EVENTS.number == _JUDGEMENTS.event
)
"""What each annotator says of each task now."""
_KEEP = (
    sa.update(tables.tasks)
    .where(tables.tasks.c.id == sa.bindparam("of_task"))
    .values(activity=sa.bindparam("at"), disagreement=sa.bindparam("apart"))
)


def refresh(connection: sa.Connection, newest: Mapping[str, int], versions: "Versions") -> None:
    """Bring tasks up to date after an event on each: `newest` is its number, by task. `versions` are all there are."""
    if newest:
        found = rows_in(connection, tables.tasks.c.id, newest)
        keep_standing(connection, list(found), newest, answers_in_force(connection, newest), versions)


def keep_standing(
    connection: sa.Connection, tasks: Sequence[sa.Row[Any]], newest: Mapping[str, int],
    answers: Mapping[str, Sequence[Answer]], versions: "Versions",
) -> None:  # fmt: skip
    """The same of rows of `tasks`, and the answers in force on each, that were read before."""
    rows = [
        {
            "of_task": row.id,
            "at": max(row.activity, newest[row.id]),
            "apart": disagreement(
                answers.get(row.id, []), tables.task_of(row), versions[row.campaign, row.version].campaign.scale
            ),
        }
        for row in tasks
    ]
    if rows:
        connection.execute(_KEEP, rows)


def answers_in_force(connection: sa.Connection, task_ids: Iterable[str]) -> dict[str, list[Answer]]:
    """The answers of annotators to each task that has any, in the order of their annotators' ids."""
    found: dict[str, list[Answer]] = defaultdict(list)
    said = rows_in(connection, tables.judgements.c.task_id, task_ids, SAID)
    for row in sorted(said, key=lambda row: row.annotator_id):
        found[row.task_id].append(tables.answer_of(row.answer))
    return found


def naming_their_model(candidates: Iterable[Any]) -> set[str]:
    """The ids of those candidates (rows or records) whose response says which model wrote it."""
    return {one.id for one in candidates if names_its_model(one.response)}
