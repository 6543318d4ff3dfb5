"""One-time invitation links: making them, and using one to sign in to a new account or to one's own.

Only the hash of a link's token is stored: it cannot be shown again. Each function works in the transaction that it is
given; `now` is in seconds since 1970.
"""

import hashlib
import secrets
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import Annotator, Role
from labeling_ui.people.account_rows import change_and_end_sessions, check_role, find_by_name, new_row, valid_name
from labeling_ui.store import tables

INVITATION_HOURS = 72.0
_GONE = "This link was used already, or is too old. Ask for a new one."


def create_invitation(connection: sa.Connection, role: Role, name: str | None, hours: float, now: float) -> str:
    """A token that is valid once, within `hours`: for a new account, or for the account of `name`.

    An account of that name is made now if there is none, so that nobody else can take the name meanwhile; one that is
    there keeps its role. Invitations that have expired are deleted.
    """
    token = secrets.token_urlsafe(32)
    if name is not None:
        person = find_by_name(connection, name)
        if person is None:
            connection.execute(sa.insert(tables.annotators).values(new_row(name, role, now)))
        elif person.simulated:
            raise UserError(f'"{name}" is a simulated annotator. Choose another name.')
        else:
            role = person.role
    connection.execute(sa.delete(tables.invitations).where(tables.invitations.c.expires_at < now))
    row = {"token_hash": _token_hash(token), "role": role, "name": name, "expires_at": now + 3600 * hours}
    connection.execute(sa.insert(tables.invitations).values(row))
    return token


def check_invitation(role: Role, hours: float) -> None:
    """Raise `UserError` if an invitation cannot be made for this role and this long."""
    check_role(role)
    if not 0 < hours <= 24 * 365:
        raise UserError(f"an invitation of {hours} hours: give more than 0, and at most a year (8760).")


def open_invitation(connection: sa.Connection, token: str, now: float) -> tuple[Role, str | None]:
    """The role and the name (None: to be chosen) of an invitation that is still valid; `UserError` otherwise.

    The role is the one that the account has now: it may have been given another since.
    """
    table = tables.invitations
    usable = (table.c.used_at.is_(None), table.c.expires_at > now)
    row = connection.execute(sa.select(table).where(table.c.token_hash == _token_hash(token), *usable)).first()
    if row is None:
        raise UserError(_GONE)
    person = None if row.name is None else find_by_name(connection, row.name)
    return row.role if person is None else person.role, row.name


def use_invitation(
    connection: sa.Connection, token: str, name: str, password_hash: str | None, now: float
) -> Annotator:
    """Use an invitation up; the account is made if there is none. `name` counts only if the invitation names nobody."""
    role, invited = open_invitation(connection, token, now)
    tidy = invited if invited is not None else valid_name(name)
    person = find_by_name(connection, tidy)
    if person is not None and (invited is None or person.disabled or person.simulated):
        raise UserError(f'The name "{tidy}" is taken. Choose another.' if invited is None else _GONE)
    # An admin's old password may be from when they were none: its hash does not tell whether it would do now.
    has_one = person is not None and person.password_hash and role != "admin"
    if role != "annotator" and not password_hash and not has_one:
        raise UserError("Please choose a password: this account can see more than its own tasks.")
    if person is None:
        values: dict[str, Any] = {**new_row(tidy, role, now), "password_hash": password_hash}
        connection.execute(sa.insert(tables.annotators).values(values))
        annotator = Annotator(values["id"], tidy, role=role)
    else:
        annotator = tables.annotator_of(person)
        if password_hash:
            change_and_end_sessions(connection, annotator.id, password_hash=password_hash)
    used = tables.invitations.c.token_hash == _token_hash(token)
    connection.execute(sa.update(tables.invitations).where(used).values(used_at=now))
    return annotator


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
