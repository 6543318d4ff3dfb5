"""Accounts: adding people, signing in with a password, roles, disabling, and ending sessions.

Left out on purpose: cookies (`sessions.py`), what each role may do (`web/access_control.py`), invitation links
(`invitations.py`), and forgetting a person (`forgetting.py`).

    accounts = Accounts(store.database)
    token = accounts.invite("annotator")
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import Annotator, Role
from labeling_ui.people import forgetting
from labeling_ui.people.account_rows import (
    Person,
    change_and_end_sessions,
    check_role,
    find_by_id,
    find_by_name,
    new_row,
    person_of,
    refuse_last_admin,
    tidy_name,
    valid_email,
    valid_name,
)
from labeling_ui.people.audit import COMMAND_LINE, Origin, record
from labeling_ui.people.invitations import (
    INVITATION_HOURS,
    check_invitation,
    create_invitation,
    open_invitation,
    use_invitation,
)
from labeling_ui.people.lockout import Device, LockedOut, Lockout
from labeling_ui.people.passwords import hash_password, needs_rehash, nobodys_hash, password_matches, rehash
from labeling_ui.store import tables
from labeling_ui.store.database import Database


class WrongPassword(UserError):
    """The name or the password is wrong; which of them is not said."""

    def __init__(self) -> None:
        super().__init__("The name or the password is not right.")


class Accounts:
    """People, invitations and failed sign-ins of a label store."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._lockout = Lockout(database, clock)

    def add(
        self, name: str, role: Role = "annotator", password: str | None = None, email: str | None = None,
        by: Origin = COMMAND_LINE,
    ) -> Annotator:  # fmt: skip
        """Make an account; `UserError` if the name or the e-mail address is taken."""
        tidy = valid_name(name)
        values = {
            **new_row(tidy, role, self._clock()),
            "password_hash": hash_password(password, role, tidy) if password is not None else None,
            "email": valid_email(email),
        }
        try:
            with self._database.write() as connection:
                connection.execute(sa.insert(tables.annotators).values(values))
                self._record(connection, "account_added", by, values["id"], role)
        except sa.exc.IntegrityError as error:
            raise UserError(f'the name "{values["name"]}" or the e-mail address is taken. Choose another.') from error
        return Annotator(values["id"], values["name"], role=role)

    def invite(
        self, role: Role, name: str | None = None, hours: float = INVITATION_HOURS, by: Origin = COMMAND_LINE
    ) -> str:
        """A token that lets whoever has it in once, within `hours`: to a new account, or to the account of `name`.

        See `invitations.create_invitation`.
        """
        check_invitation(role, hours)
        tidy = None if name is None else valid_name(name)
        with self._database.write() as connection:
            token = create_invitation(connection, role, tidy, hours, self._clock())
            invited = None if tidy is None else find_by_name(connection, tidy)
            self._record(connection, "invited", by, invited.id if invited else None, invited.role if invited else role)
        return token

    def invitation(self, token: str) -> tuple[Role, str | None]:
        """The role and the name (None: to be chosen) of an invitation that is still valid; `UserError` otherwise."""
        with self._database.read() as connection:
            return open_invitation(connection, token, self._clock())

    def redeem(
        self, token: str, name: str = "", password: str | None = None, address: str = COMMAND_LINE.address
    ) -> Annotator:
        """Use an invitation, once. The name of an invitation to an account of its own is kept, whatever `name` says.

        A password is needed for admins, and for reviewers who have none; giving one ends the account's other sessions.
        """
        role, invited = self.invitation(token)
        tidy = valid_name(name) if invited is None else invited
        hashed = hash_password(password, role, tidy) if password else None
        with self._database.write() as connection:
            annotator = use_invitation(connection, token, name, hashed, self._clock())
            self._record(connection, "invitation_used", Origin(annotator.id, address), annotator.id, annotator.role)
        return annotator

    def sign_in(self, name: str, password: str, address: str, device: Device | None = None) -> Annotator:
        """The person with that name and password; `device` is what their browser was given when they last signed in.

        `WrongPassword` for a wrong password, and, after the same work, for an account that does not exist, has no
        password or is disabled; `LockedOut` after too many failures of the name or of the network address, or of a
        known device, for which neither of these counts.
        """
        tidy = tidy_name(name)
        with self._database.read() as connection:
            row = find_by_name(connection, tidy)
        subject = row.id if row is not None else None
        known_device = device.key if device is not None and device.annotator_id == subject else None
        try:
            keys = self._lockout.enter(tidy, address, known_device)
        except LockedOut as locked:
            if locked.first:
                self._note("locked_out", Origin(None, address), subject)
            raise
        known = row is not None and not row.disabled and not row.simulated and row.password_hash is not None
        right = password_matches(row.password_hash if row is not None and known else nobodys_hash(), password)
        if row is None or not known or not right:
            self._note("sign_in_failed", Origin(None, address), subject)
            raise WrongPassword
        self._lockout.passed(keys)
        self._note("signed_in", Origin(row.id, address), row.id)
        if needs_rehash(row.password_hash):
            with self._database.write() as connection:
                own = tables.annotators.c.id == row.id
                connection.execute(sa.update(tables.annotators).where(own).values(password_hash=rehash(password)))
        return tables.annotator_of(row)

    def set_password(self, name: str, password: str, by: Origin = COMMAND_LINE) -> None:
        """Give a person another password; ends their sessions."""
        person = self._person(name)
        hashed = hash_password(password, person.role, person.name)
        with self._database.write() as connection:
            change_and_end_sessions(connection, person.id, password_hash=hashed)
            self._record(connection, "password_changed", by, person.id)

    def set_role(self, name: str, role: Role, by: Origin = COMMAND_LINE) -> None:
        """Change what a person may do, from their next request on; the only admin stays one."""
        check_role(role)
        person = self._person(name)
        if role != "annotator" and person.password_hash is None:
            raise UserError(f'"{person.name}" has no password, and a {role} needs one. Set one first.')
        with self._database.write() as connection:
            if role != "admin":
                refuse_last_admin(connection, person)
            change_and_end_sessions(connection, person.id, role=role)
            self._record(connection, "role_changed", by, person.id, f"{person.role} -> {role}")

    def disable(self, name: str, disabled: bool = True, by: Origin = COMMAND_LINE) -> None:
        """Let a person in no longer (or again); ends their sessions. What they judged stays."""
        person = self._person(name)
        with self._database.write() as connection:
            if disabled:
                refuse_last_admin(connection, person)
            change_and_end_sessions(connection, person.id, disabled=disabled)
            self._record(connection, "disabled" if disabled else "enabled", by, person.id)

    def forget(
        self, name_or_email: str, judgements: forgetting.Fate = "keep", by: Origin = COMMAND_LINE
    ) -> forgetting.Forgetting:
        """Remove a person; returns what was changed. See `forgetting.forget`."""
        return forgetting.forget(self._database, name_or_email, judgements, by, self._clock())

    def list(self) -> Sequence[Person]:
        """Everybody, by name; also simulated annotators, and those whom imported data names."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(tables.annotators).order_by(tables.annotators.c.name)).all()
        return [person_of(row) for row in rows]

    def person(self, annotator_id: str) -> Person:
        """The account of that id; `UserError` if it is gone."""
        with self._database.read() as connection:
            row = find_by_id(connection, annotator_id)
        if row is None:
            raise UserError("this account is gone.")
        return person_of(row)

    def has_admin(self) -> bool:
        """Whether anybody can administer the store."""
        admins = (tables.annotators.c.role == "admin") & ~tables.annotators.c.disabled
        with self._database.read() as connection:
            return connection.execute(sa.select(tables.annotators.c.id).where(admins).limit(1)).first() is not None

    def session_version(self, annotator_id: str) -> int:
        """What a session that begins now must carry; `UserError` if the person is gone or disabled."""
        with self._database.read() as connection:
            row = find_by_id(connection, annotator_id)
        if row is None or row.disabled:
            raise UserError("this account is gone.")
        return int(row.session_version)

    def session(self, annotator_id: str, session_version: int) -> Annotator | None:
        """The person of a session; None if it ended: signed out, another password, disabled or forgotten."""
        with self._database.ask() as connection:
            row = find_by_id(connection, annotator_id)
        if row is None or row.disabled or row.session_version != session_version:
            return None
        return tables.annotator_of(row)

    def end_sessions(self, annotator_id: str, by: Origin = COMMAND_LINE) -> None:
        """Sign a person out everywhere."""
        with self._database.write() as connection:
            change_and_end_sessions(connection, annotator_id)
            self._record(connection, "signed_out", by, annotator_id)

    def _note(self, event: str, origin: Origin, subject_id: str | None) -> None:
        with self._database.write() as connection:
            self._record(connection, event, origin, subject_id)

    def _record(
        self, connection: sa.Connection, event: str, origin: Origin, subject_id: str | None, detail: str = ""
    ) -> None:
        record(connection, self._clock(), event, origin, subject_id, detail)

    def _person(self, name: str) -> sa.Row[Any]:
        with self._database.read() as connection:
            row = find_by_name(connection, tidy_name(name)) or find_by_name(connection, name)
        if row is None or row.simulated:
            raise UserError(f'there is no person "{name}" in this label store. `rlhf users list` shows who is.')
        return row
