"""Rows of the table of accounts: finding, making and changing them, and the checks of names and e-mail addresses.

Shared by `accounts.py` and `invitations.py`. Each function works in the transaction that it is given.
"""

import secrets
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import ROLES, Role
from labeling_ui.store import tables

LONGEST_NAME = 60
_BY_ID = sa.select(tables.annotators).where(tables.annotators.c.id == sa.bindparam("id"))


@dataclass(frozen=True, slots=True)
class Person:
    """An account. Without a password, its owner signs in by an invitation link; if it is disabled, not at all."""

    id: str
    name: str
    role: Role
    email: str | None
    has_password: bool
    disabled: bool
    simulated: bool
    created_at: str


def new_row(name: str, role: Role, now: float) -> dict[str, Any]:
    """The row of a new account, made at `now` (seconds since 1970)."""
    check_role(role)
    created_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    return {"id": secrets.token_hex(8), "name": name, "simulated": False, "role": role, "created_at": created_at}


def person_of(row: sa.Row[Any]) -> Person:
    """A row as an account."""
    return Person(
        id=row.id,
        name=row.name,
        role=row.role,
        email=row.email,
        has_password=row.password_hash is not None,
        disabled=row.disabled,
        simulated=row.simulated,
        created_at=row.created_at,
    )


def find_by_name(connection: sa.Connection, name: str) -> sa.Row[Any] | None:
    """The row of that name."""
    return connection.execute(sa.select(tables.annotators).where(tables.annotators.c.name == name)).first()


def find_by_id(connection: sa.Connection, annotator_id: str) -> sa.Row[Any] | None:
    """The row of that id."""
    return connection.execute(_BY_ID, {"id": annotator_id}).first()


def change_and_end_sessions(connection: sa.Connection, annotator_id: str, **values: Any) -> None:
    """Change an account, and end its sessions."""
    table = tables.annotators
    ended = {"session_version": table.c.session_version + 1, **values}
    connection.execute(sa.update(table).where(table.c.id == annotator_id).values(ended))


def refuse_last_admin(connection: sa.Connection, person: sa.Row[Any]) -> None:
    """Raise `UserError` if nobody else could administer the store."""
    table = tables.annotators
    others = (table.c.role == "admin") & ~table.c.disabled & (table.c.id != person.id)
    if (
        person.role == "admin"
        and not person.disabled
        and not connection.execute(sa.select(table).where(others)).first()
    ):
        raise UserError(f'"{person.name}" is the only admin. Make somebody else admin first.')


def tidy_name(name: str) -> str:
    """The one spelling of a name: composed Unicode, single spaces, nothing invisible; empty if it is not a name."""
    text = " ".join(unicodedata.normalize("NFC", name).split())
    printable = all(unicodedata.category(letter)[0] != "C" for letter in text)
    return text if printable and len(text) <= LONGEST_NAME else ""


def valid_name(name: str) -> str:
    """The name, tidied; `UserError` if it is not one."""
    tidy = tidy_name(name)
    if not tidy:
        raise UserError(f"Please give a name of up to {LONGEST_NAME} characters.")
    return tidy


def valid_email(email: str | None) -> str | None:
    """The e-mail address in lower case, None for an empty one; `UserError` if it is not one."""
    if email is None or not email.strip():
        return None
    text = email.strip().casefold()
    before, at, after = text.partition("@")
    if not (before and at and after) or len(text) > 254 or any(letter.isspace() for letter in text):
        raise UserError(f'"{email}" is not an e-mail address.')
    return text


def valid_role(role: str) -> Role:
    """The role; `UserError` if there is none of that name."""
    check_role(role)
    return cast(Role, role)


def check_role(role: str) -> None:
    """Raise `UserError` if there is no such role."""
    if role not in ROLES:
        raise UserError(f'"{role}" is not a role. Choose one of {", ".join(ROLES)}.')
