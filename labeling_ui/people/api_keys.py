"""API keys: with one, a program asks in a person's name, until the key is revoked or the person is disabled.

Only the hash of a key is stored: it cannot be shown again. Left out on purpose: what a key may ask for, and how often,
which is for the server that takes it.
"""

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import Annotator
from labeling_ui.people.account_rows import find_by_name, new_row, valid_name
from labeling_ui.people.audit import COMMAND_LINE, record
from labeling_ui.store import tables
from labeling_ui.store.database import Database

PREFIX = "rlhf-"
"""By this, a key is known for one where it was left in a file by mistake."""


_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is in force: its id, which lets nobody in, and whose it is."""

    id: str
    name: str
    disabled: bool
    created_at: str


def make_key(database: Database, name: str) -> str:
    """A new key for the person of that name; their account, of an annotator without a password, is made if need be."""
    tidy, key, now = valid_name(name), PREFIX + secrets.token_urlsafe(32), time.time()
    with database.write() as connection:
        person = find_by_name(connection, tidy)
        if person is None:
            row = new_row(tidy, "annotator", now)
            connection.execute(sa.insert(tables.annotators).values(row))
            record(connection, now, "account_added", COMMAND_LINE, row["id"], "annotator")
            person = find_by_name(connection, tidy)
        assert person is not None
        if person.simulated or person.disabled:
            raise UserError(f'"{tidy}" is {"simulated" if person.simulated else "disabled"}, and can have no key.')
        made = {
            "id": secrets.token_hex(_ID_LENGTH // 2), "key_hash": _hash(key), "annotator_id": person.id,
            "created_at": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        connection.execute(sa.insert(tables.api_keys).values(made))
        record(connection, now, "key_made", COMMAND_LINE, person.id, made["id"])
    return key


def keys(database: Database) -> Sequence[Key]:
    """All keys that are in force, by name and age."""
    people, known = tables.annotators, tables.api_keys
    wanted = sa.select(known.c.id, people.c.name, people.c.disabled, known.c.created_at)
    wanted = wanted.join(people, people.c.id == known.c.annotator_id).order_by(people.c.name, known.c.created_at)
    with database.read() as connection:
        return [Key(*row) for row in connection.execute(wanted)]


def id_of(database: Database, key: str) -> str | None:
    """The id of a key that is in force; None if there is none."""
    wanted = sa.select(tables.api_keys.c.id).where(tables.api_keys.c.key_hash == _hash(key))
    with database.read() as connection:
        found = connection.execute(wanted).scalar()
    return None if found is None else str(found)


def revoke_key(database: Database, id: str) -> str:
    """End a key by its id; returns whose it was. `UserError`, which never repeats a secret, if there is none."""
    people, known = tables.annotators, tables.api_keys
    with database.write() as connection:
        wanted = sa.select(people).join(known, people.c.id == known.c.annotator_id).where(known.c.id == id)
        person = connection.execute(wanted).first()
        if person is None:
            named = f' "{id}"' if len(id) <= _ID_LENGTH else " of that id, and none that is this one"
            raise UserError(f"there is no key{named}. `rlhf keys list` shows the ids of those that are in force.")
        connection.execute(sa.delete(known).where(known.c.id == id))
        record(connection, time.time(), "key_revoked", COMMAND_LINE, person.id, id)
    return str(person.name)


def owner_of(database: Database, key: str) -> Annotator | None:
    """Whose key this is; None if it is none, was revoked, or belongs to somebody who is disabled."""
    people, known = tables.annotators, tables.api_keys
    wanted = sa.select(people).join(known, people.c.id == known.c.annotator_id)
    with database.read() as connection:
        person = connection.execute(wanted.where(known.c.key_hash == _hash(key), ~people.c.disabled)).first()
    return None if person is None else tables.annotator_of(person)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()
