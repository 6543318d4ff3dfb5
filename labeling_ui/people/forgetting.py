"""Removing a person from the label store, so that nothing in the database says who they were.

What they judged stays under a name that means nothing, or is deleted. SQLite's files are rewritten, so that no freed
page and no log keeps the old bytes. Out of reach are copies: backups (also the one that an upgrade of the store makes,
`labels.db.backup-*`), exported files, and PostgreSQL's own logs and archives, which PostgreSQL's owner has to expire.
"""

import re
import secrets
import sqlite3
from typing import Any, Literal

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.people.lockout import name_key
from labeling_ui.store import tables
from labeling_ui.store.database import Database
from labeling_ui.store.judgements import delete_judgements

REMOVED = "[removed]"


def forget(database: Database, name_or_email: str, judgements: Literal["keep", "delete"]) -> int:
    """Remove the person; returns how many judgements in force were kept or deleted.

    "keep": name and e-mail address give way to a random name; password, invitations and failed sign-ins go; the person
    cannot sign in, and all sessions end. The id stays: it is random, and says nothing. "delete": their events and
    judgements, and the tasks that were theirs alone, go as well.

    Either way name and address are struck out of whatever anybody wrote in a reason, a rationale or a rewrite, and of
    prompts that the person typed in live generation and the responses to them. `UserError` if there is no such
    person, and if the SQLite files could not be rewritten because something else holds the database.
    """
    if judgements not in ("keep", "delete"):
        raise UserError(f'judgements "{judgements}": choose keep or delete.')
    people, pseudonym = tables.annotators, f"forgotten-{secrets.token_hex(4)}"
    with database.write() as connection:
        row = _find(connection, name_or_email)
        words = _pattern([row.name, *([row.email] if row.email else [])])
        _redact_conversations(connection, row.id, words)
        if judgements == "delete":
            number = delete_judgements(connection, row.id)
        else:
            mine = sa.select(sa.func.count()).where(tables.judgements.c.annotator_id == row.id)
            number = int(connection.execute(mine).scalar_one())
        _redact_answers(connection, words)
        connection.execute(sa.delete(tables.invitations).where(tables.invitations.c.name == row.name))
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
    try:
        _rewrite_file(database)
    except sqlite3.Error as error:
        raise UserError(
            f"the person is forgotten, but {database.name} could not be rewritten, so old bytes may still be in it: "
            f"{error}. Stop what uses the database, then forget {pseudonym} to try again."
        ) from error
    return number


def _find(connection: sa.Connection, name_or_email: str) -> sa.Row[Any]:
    people, given = tables.annotators, name_or_email.strip()
    spelled = sa.select(people).where((people.c.name == given) | (people.c.email == given.casefold()))
    rows = connection.execute(spelled).all()
    if not rows:
        raise UserError(f'there is no person "{given}" in this label store. `rlhf users list` shows who is.')
    if len(rows) > 1:
        raise UserError(f"\"{given}\" is one person's name and another's e-mail address. Give the other of the two.")
    return rows[0]


def _pattern(words: list[str]) -> re.Pattern[str]:
    """Each word by itself, whatever its case and spacing; scripts without spaces have no ends of words to look for."""
    spellings = (r"\s+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(spellings)})(?![A-Za-z0-9])", re.IGNORECASE)


def _redact_answers(connection: sa.Connection, words: re.Pattern[str]) -> None:
    events = tables.events
    for row in connection.execute(sa.select(events.c.number, events.c.answer)).all():
        written = {key: words.sub(REMOVED, row.answer[key]) for key in _WRITTEN if key in row.answer}
        if any(row.answer[key] != text for key, text in written.items()):
            here = events.c.number == row.number
            connection.execute(sa.update(events).where(here).values(answer={**row.answer, **written}))


_WRITTEN = ("reason", "rationale", "rewrite")


def _redact_conversations(connection: sa.Connection, annotator_id: str, words: re.Pattern[str]) -> None:
    """Strike the words out of prompts that the person typed, and of the responses to them. The ids stay as they are."""
    prompts, candidates, tasks = tables.prompts, tables.candidates, tables.tasks
    own = sa.select(tasks.c.prompt_id).where(tasks.c.reserved_for == annotator_id, tasks.c.repeat_of.is_(None))
    for row in connection.execute(sa.select(prompts).where(prompts.c.id.in_(own))).all():
        messages = [{**message, "content": words.sub(REMOVED, message["content"])} for message in row.messages]
        if messages != row.messages:
            connection.execute(sa.update(prompts).where(prompts.c.id == row.id).values(messages=messages))
    for row in connection.execute(sa.select(candidates).where(candidates.c.prompt_id.in_(own))).all():
        response = words.sub(REMOVED, row.response)
        if response != row.response:
            connection.execute(sa.update(candidates).where(candidates.c.id == row.id).values(response=response))


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
