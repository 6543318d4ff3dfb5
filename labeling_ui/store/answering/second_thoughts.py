"""Second thoughts on a task that was shown again are also about the first time, which is what is learned from.

An edit of a repeat is therefore copied to its original, right behind it in the log. An undo takes the edit back, and
puts what was said of the original before in force again, by a second copy: nobody asks for that answer anew. The key of
a copy says what it is. It has no time: the time was spent once. (Copies in older stores have one.)
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
    """The key of the copy of an edit, or of what an undo puts back in its place."""
    return f"{key}{_MARK}"


def is_copy(key: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether an event with this key is a copy."""
    return key.endswith(_MARK, autoescape=True)


def said_before(connection: sa.Connection, copy: sa.Row[tuple[object, ...]]) -> sa.Row[tuple[object, ...]]:
    """The event that was in force before a copy, of the same task and annotator."""
    events = tables.events.c
    earlier = sa.select(tables.events).where(events.task_id == copy.task_id, events.number < copy.number)
    earlier = earlier.where(events.annotator_id == copy.annotator_id).order_by(events.number.desc()).limit(1)
    return connection.execute(earlier).one()
