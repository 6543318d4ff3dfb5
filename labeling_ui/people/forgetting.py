"""Removing a person from the label store, so that nothing in the database says who they were.

What they judged stays under a name that means nothing, or is deleted. Free text is never edited: a name can be a word
("Will", "the", "明"), and rewrites are training data. Texts that may name the person are marked, for a reviewer to read
and decide. SQLite's files are rewritten, so that no freed page and no log keeps the account's bytes.
Out of reach are copies: backups (also the one that an upgrade of the store makes, `labels.db.backup-*`), exported
files, and PostgreSQL's own logs and archives, which PostgreSQL's owner has to expire.
"""

import re
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.people.audit import COMMAND_LINE, Origin, forget_addresses, record
from labeling_ui.people.lockout import name_key
from labeling_ui.store import tables
from labeling_ui.store.database import Database
from labeling_ui.store.judgements import delete_judgements

Fate = Literal["keep", "delete"]


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What forgetting `name` changes: `judgements` in force are kept or deleted, `texts` are marked and stay."""

    name: str
    judgements: int
    texts: Sequence["Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """A text in the store: `kind` is reason, rationale, rewrite, prompt or response, and `id` that of its row."""

    kind: str
    id: str
    text: str


def preview(database: Database, name_or_email: str, judgements: Fate) -> Forgetting:
    """What `forget` would change; changes nothing. `UserError` if there is no such person."""
    with database.read() as connection:
        row = _find(connection, name_or_email)
        return Forgetting(row.name, _number(connection, row.id), _naming(connection, row, judgements))


def forget(
    database: Database, name_or_email: str, judgements: Fate, by: Origin = COMMAND_LINE, now: float | None = None
) -> Forgetting:
    """Remove the person; returns what was changed, under the name that they have now.

    "keep": name and e-mail address give way to a random name; password, keys, invitations and failed sign-ins go; the
    person cannot sign in, and all sessions end. The id stays: it is random, and says nothing. So does the audit log,
    without the network addresses of the person. "delete": their events and judgements, and the tasks that were theirs
    alone, with what reviewers decided of these, go as well.

    Either way, reasons, rationales and rewrites in which name or address stand are marked, whoever wrote them, and so
    are prompts that the person typed in live generation and the responses to them. `UserError` if there is no such
    person, and if the SQLite files could not be rewritten because something else holds the database.
    """
    if judgements not in ("keep", "delete"):
        raise UserError(f'judgements "{judgements}": choose keep or delete.')
    people, pseudonym = tables.annotators, f"forgotten-{secrets.token_hex(4)}"
    with database.write() as connection:
        row = _find(connection, name_or_email)
        texts, number = _naming(connection, row, judgements), _number(connection, row.id)
        if judgements == "delete":
            delete_judgements(connection, row.id)
        marks = {(text.kind, text.id) for text in texts} - set(_marks(connection))
        if marks:
            connection.execute(
                sa.insert(tables.marked_texts), [{"kind": kind, "id": key} for kind, key in sorted(marks)]
            )
        connection.execute(sa.delete(tables.invitations).where(tables.invitations.c.name == row.name))
        connection.execute(sa.delete(tables.api_keys).where(tables.api_keys.c.annotator_id == row.id))
        connection.execute(
            sa.delete(tables.sign_in_attempts).where(tables.sign_in_attempts.c.key == name_key(row.name))
        )
        nobody = {
            "name": pseudonym,
            "email": None,
            "password_hash": None,
            "role": "annotator",
            "disabled": True,
            "session_version": people.c.session_version + 1,
        }
        connection.execute(sa.update(people).where(people.c.id == row.id).values(nobody))
        record(connection, time.time() if now is None else now, "forgotten", by, row.id, f"judgements: {judgements}")
        forget_addresses(connection, row.id)
    try:
        _rewrite_file(database)
    except sqlite3.Error as error:
        raise UserError(
            f"the person is forgotten, but {database.name} could not be rewritten, so old bytes may still be in it: "
            f"{error}. Stop what uses the database, then forget {pseudonym} to try again."
        ) from error
    return Forgetting(pseudonym, number, texts)


def marked(database: Database) -> list[Text]:
    """All texts that were marked and are still there, in the order of their kinds and ids."""
    with database.read() as connection:
        marks = set(_marks(connection))
        return [text for text in _texts(connection) if (text.kind, text.id) in marks] if marks else []


def _find(connection: sa.Connection, name_or_email: str) -> sa.Row[Any]:
    people, given = tables.annotators, name_or_email.strip()
    spelled = sa.select(people).where((people.c.name == given) | (people.c.email == given.casefold()))
    rows = connection.execute(spelled).all()
    if not rows:
        raise UserError(f'there is no person "{given}" in this label store. `rlhf users list` shows who is.')
    if len(rows) > 1:
        raise UserError(f"\"{given}\" is one person's name and another's e-mail address. Give the other of the two.")
    return rows[0]


def spelled(words: list[str]) -> re.Pattern[str]:
    """Each word by itself, whatever its case and spacing; scripts without spaces have no ends of words to look for."""
    spellings = (r"\s+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(spellings)})(?![A-Za-z0-9])", re.IGNORECASE)


def _number(connection: sa.Connection, annotator_id: str) -> int:
    mine = sa.select(sa.func.count()).where(tables.judgements.c.annotator_id == annotator_id)
    return int(connection.execute(mine).scalar_one())


def _marks(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    return ((row.kind, row.id) for row in connection.execute(sa.select(tables.marked_texts)))


_WRITTEN = ("reason", "rationale", "rewrite")


def _naming(connection: sa.Connection, person: sa.Row[Any], judgements: Fate) -> list[Text]:
    """The texts that will be left and in which the person's name or address stand."""
    words = spelled([person.name, *([person.email] if person.email else [])])
    tasks, events = tables.tasks, tables.events
    typed = sa.select(tasks.c.prompt_id).where(tasks.c.reserved_for == person.id, tasks.c.repeat_of.is_(None))
    own = set(connection.execute(typed).scalars())
    gone: set[str] = set()
    if judgements == "delete":
        deleted = sa.select(events.c.number).join(tasks, tasks.c.id == events.c.task_id)
        deleted = deleted.where((events.c.annotator_id == person.id) | (tasks.c.reserved_for == person.id))
        gone = {str(number) for number in connection.execute(deleted).scalars()}
    return [
        text
        for text in _texts(connection, own)
        if not (text.kind in _WRITTEN and text.id in gone) and words.search(text.text)
    ]


def _texts(connection: sa.Connection, prompts: Set[str] | None = None) -> Iterator[Text]:
    """What was written in answers, and these prompts (or all) with their responses."""
    for row in connection.execute(sa.select(tables.events.c.number, tables.events.c.answer)):
        for key in _WRITTEN:
            if key in row.answer:
                yield Text(key, str(row.number), row.answer[key])
    for asked in connection.execute(sa.select(tables.prompts.c.id, tables.prompts.c.messages)):
        if prompts is None or asked.id in prompts:
            yield Text("prompt", asked.id, "\n".join(str(message["content"]) for message in asked.messages))
    responses = tables.candidates.c
    for one in connection.execute(sa.select(responses.id, responses.prompt_id, responses.response)):
        if prompts is None or one.prompt_id in prompts:
            yield Text("response", one.id, one.response)


def _rewrite_file(database: Database) -> None:
    """Leave none of the old bytes in a SQLite database: freed pages and the log still hold what was deleted."""
    if database.file is None:
        return
    connection = database.engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("VACUUM")
        (busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    if busy:
        raise sqlite3.OperationalError("something else is reading it")
