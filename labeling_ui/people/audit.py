"""The log of security events: who did what to whom, when, and from where. Entries are added, and never edited.

It is kept in the label store, in the transaction of what it tells of. No name, password or link is in it: people are
ids, so that a person who is forgotten is forgotten here too (their network addresses are taken out). Left out on
purpose: the page that shows it (`web/tasks/audit.py`), and refusals that change nothing, which are in the server's log.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from labeling_ui.store.account_tables import annotators, security_events
from labeling_ui.store.database import Database

EVENTS = (
    "signed_in", "sign_in_failed", "locked_out", "signed_out", "invited", "invitation_used", "account_added",
    "role_changed", "password_changed", "disabled", "enabled", "forgotten", "exported", "task_decided",
    "decision_withdrawn", "tasks_changed", "texts_edited", "key_made", "key_revoked",
)  # fmt: skip
KEPT_DAYS = 400
"""Older entries are deleted: they hold network addresses."""
PAGE = 100


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks for something (the id of a person; None: nobody who is signed in), and from which network address."""

    person_id: str | None
    address: str


COMMAND_LINE = Origin(None, "command line")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. `person` did it, to `subject`; both are names as they are now. Times are ISO 8601, in UTC."""

    number: int
    created_at: str
    event: str
    person: str
    subject: str
    detail: str
    address: str


def record(
    connection: sa.Connection, now: float, event: str, origin: Origin, subject_id: str | None = None, detail: str = ""
) -> None:
    """Write an event down, in a transaction that is under way at `now` (seconds since 1970)."""
    at = datetime.fromtimestamp(now, UTC)
    old = (at - timedelta(days=KEPT_DAYS)).isoformat(timespec="seconds")
    connection.execute(sa.delete(security_events).where(security_events.c.created_at < old))
    row = {
        "created_at": at.isoformat(timespec="seconds"), "event": event, "person_id": origin.person_id,
        "subject_id": subject_id, "detail": detail[:200], "address": origin.address[:60],
    }  # fmt: skip
    connection.execute(sa.insert(security_events).values(row))


def note(database: Database, event: str, origin: Origin, subject_id: str | None = None, detail: str = "") -> None:
    """Write down what has just happened."""
    with database.write() as connection:
        record(connection, time.time(), event, origin, subject_id, detail)


def forget_addresses(connection: sa.Connection, person_id: str) -> None:
    """Take out where a person was; what was done stays."""
    log = security_events
    theirs = (log.c.person_id == person_id) | (log.c.subject_id == person_id)
    connection.execute(sa.update(log).where(theirs).values(address=""))


def read_page(
    database: Database, before: int | None = None, event: str | None = None, count: int = PAGE
) -> tuple[Sequence[Entry], int | None]:
    """Entries, the latest first, from before the entry of that number on; and where the next page begins."""
    wanted = _entries().order_by(security_events.c.number.desc()).limit(count + 1)
    if before is not None:
        wanted = wanted.where(security_events.c.number < before)
    if event is not None:
        wanted = wanted.where(security_events.c.event == event)
    with database.read() as connection:
        found = [_entry(row) for row in connection.execute(wanted)]
    return found[:count], found[count - 1].number if len(found) > count else None


def read_all(database: Database) -> Iterator[Entry]:
    """Every entry, the latest first, a page at a time."""
    before: int | None = None
    while True:
        entries, before = read_page(database, before, count=1000)
        yield from entries
        if before is None:
            return


def _entries() -> sa.Select[Any]:
    person, subject = annotators.alias("person"), annotators.alias("subject")
    log = security_events
    return (
        sa.select(log, person.c.name.label("person"), subject.c.name.label("subject"))
        .outerjoin(person, person.c.id == log.c.person_id)
        .outerjoin(subject, subject.c.id == log.c.subject_id)
    )


def _entry(row: sa.Row[Any]) -> Entry:
    person, subject = row.person or row.person_id or "", row.subject or row.subject_id or ""
    return Entry(row.number, row.created_at, row.event, person, subject, row.detail, row.address)
