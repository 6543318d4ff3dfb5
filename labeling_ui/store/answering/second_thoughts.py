"""Second thoughts on a task that was shown again are also about the first time, which is what is learned from.

An edit of a repeat is therefore copied to its original, right behind it in the log, and an undo takes both back. The
key of a copy says what it is. It has no time: the time was spent once. (Copies in older stores have one.)
"""

from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex

import sqlalchemy as sa

from labeling_ui.data_model import Judgement
from labeling_ui.store import tables
from labeling_ui.store.database import rows_in

_MARK = ", the first time"


def with_copies(connection: sa.Connection, judgements: Sequence[Judgement]) -> list[tuple[Judgement, bool]]:
    """The judgements in their order, each with whether it is a copy of the one before it; edits all have a key."""
    edited = [each.task_id for each in judgements if each.action == "edit"]
    rows = rows_in(connection, tables.tasks.c.id, edited) if edited else ()
    first = {row.id: row.repeat_of for row in rows if row.repeat_of is not None}
    there = rows_in(connection, tables.judgements.c.task_id, first.values()) if first else ()
    in_force = {(row.task_id, row.annotator_id) for row in there}
    found = []
    for each in judgements:
        original = first.get(each.task_id) if each.action == "edit" else None
        if original is None or (original, each.annotator_id) not in in_force:
            found.append((each, False))
            continue
        keyed = replace(each, key=each.key or token_hex(16))
        copy = replace(keyed, task_id=original, shown=each.shown[::-1], seconds=None, key=key_of_copy(keyed.key))
        found += [(keyed, False), (copy, True)]
    return found


def key_of_copy(key: str) -> str:
    """The key of the copy of an edit, or of taking that copy back."""
    return f"{key}{_MARK}"


def is_copy(key: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether an event with this key is a copy."""
    return key.endswith(_MARK, autoescape=True)


def edit_of(connection: sa.Connection, event: sa.Row[tuple[object, ...]]) -> sa.Row[tuple[object, ...]] | None:
    """The edit in force, of the repeat, of which this event is the copy; None if it is no copy of one."""
    if event.action != "edit" or not event.key.endswith(_MARK):
        return None
    events, judgements = tables.events, tables.judgements
    edit = sa.select(events).join(judgements, judgements.c.event == events.c.number)
    edit = edit.where(events.c.key == event.key.removesuffix(_MARK), events.c.annotator_id == event.annotator_id)
    return connection.execute(edit).first()
