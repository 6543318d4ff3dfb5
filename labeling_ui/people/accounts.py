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
    tidy_name,
    valid_email,
    valid_name,
)
from labeling_ui.people.invitations import (
    INVITATION_HOURS,
    check_invitation,
    create_invitation,
    open_invitation,
    use_invitation,
)
from labeling_ui.people.lockout import Lockout
from labeling_ui.people.passwords import hash_password, needs_rehash, nobodys_hash, password_matches
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
        self, name: str, role: Role = "annotator", password: str | None = None, email: str | None = None
    ) -> Annotator:
        """Make an account; `UserError` if the name or the e-mail address is taken."""
        values = {
            **new_row(valid_name(name), role, self._clock()),
            "password_hash": hash_password(password) if password is not None else None,
            "email": valid_email(email),
        }
        try:
            with self._database.write() as connection:
                connection.execute(sa.insert(tables.annotators).values(values))
        except sa.exc.IntegrityError as error:
            raise UserError(f'the name "{values["name"]}" or the e-mail address is taken. Choose another.') from error
        return Annotator(values["id"], values["name"], role=role)

    def invite(self, role: Role, name: str | None = None, hours: float = INVITATION_HOURS) -> str:
        """A token that lets whoever has it in once, within `hours`: to a new account, or to the account of `name`.

        See `invitations.create_invitation`.
        """
        check_invitation(role, hours)
        tidy = None if name is None else valid_name(name)
        with self._database.write() as connection:
            return create_invitation(connection, role, tidy, hours, self._clock())

    def invitation(self, token: str) -> tuple[Role, str | None]:
        """The role and the name (None: to be chosen) of an invitation that is still valid; `UserError` otherwise."""
        with self._database.read() as connection:
            return open_invitation(connection, token, self._clock())

    def redeem(self, token: str, name: str = "", password: str | None = None) -> Annotator:
        """Use an invitation, once. The name of an invitation to an account of its own is kept, whatever `name` says.

        A password is needed for reviewers and admins who have none; giving one ends the account's other sessions.
        """
        _, invited = self.invitation(token)
        if invited is None:
            valid_name(name)
        hashed = hash_password(password) if password else None
        with self._database.write() as connection:
            return use_invitation(connection, token, name, hashed, self._clock())

    def sign_in(self, name: str, password: str, address: str) -> Annotator:
        """The person with that name and password.

        `WrongPassword` for a wrong password, and, after the same work, for an account that does not exist, has no
        password or is disabled; `LockedOut` after too many failures of the name or of the network address.
        """
        tidy = tidy_name(name)
        self._lockout.enter(tidy, address)
        with self._database.read() as connection:
            row = find_by_name(connection, tidy)
        known = row is not None and not row.disabled and not row.simulated and row.password_hash is not None
        right = password_matches(row.password_hash if row is not None and known else nobodys_hash(), password)
        if row is None or not known or not right:
            raise WrongPassword
        self._lockout.passed(tidy, address)
        if needs_rehash(row.password_hash):
            with self._database.write() as connection:
                own = tables.annotators.c.id == row.id
                connection.execute(
                    sa.update(tables.annotators).where(own).values(password_hash=hash_password(password))
                )
        return tables.annotator_of(row)

    def set_password(self, name: str, password: str) -> None:
        """Give a person another password; ends their sessions."""
        person = self._person(name)
        hashed = hash_password(password)
        with self._database.write() as connection:
            change_and_end_sessions(connection, person.id, password_hash=hashed)

    def set_role(self, name: str, role: Role) -> None:
        """Change what a person may do; it holds from their next request on."""
        check_role(role)
        person = self._person(name)
        if role != "annotator" and person.password_hash is None:
            raise UserError(f'"{person.name}" has no password, and a {role} needs one. Set one first.')
        with self._database.write() as connection:
            change_and_end_sessions(connection, person.id, role=role)

    def disable(self, name: str, disabled: bool = True) -> None:
        """Let a person in no longer (or again); ends their sessions. What they judged stays."""
        person = self._person(name)
        with self._database.write() as connection:
            change_and_end_sessions(connection, person.id, disabled=disabled)

    def forget(self, name_or_email: str, judgements: forgetting.Fate = "keep") -> forgetting.Forgetting:
        """Remove a person; returns what was changed. See `forgetting.forget`."""
        return forgetting.forget(self._database, name_or_email, judgements)

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
        with self._database.read() as connection:
            row = find_by_id(connection, annotator_id)
        if row is None or row.disabled or row.session_version != session_version:
            return None
        return tables.annotator_of(row)

    def end_sessions(self, annotator_id: str) -> None:
        """Sign a person out everywhere."""
        with self._database.write() as connection:
            change_and_end_sessions(connection, annotator_id)

    def _person(self, name: str) -> sa.Row[Any]:
        with self._database.read() as connection:
            row = find_by_name(connection, tidy_name(name)) or find_by_name(connection, name)
        if row is None or row.simulated:
            raise UserError(f'there is no person "{name}" in this label store. `rlhf users list` shows who is.')
        return row
