"""Who the people are: accounts, passwords, invitations, and ending their sessions.

Passwords are kept as argon2id hashes (the parameters of RFC 9106, second choice), invitations as hashes of their
tokens. Left out on purpose: cookies and what each role may do (`access.py`), and forgetting a person (`forgetting.py`).

    accounts = Accounts(store.database)
    token = accounts.invite("annotator")
"""

import hashlib
import secrets
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from foundation.errors import UserError
from labeling_ui.people import forgetting
from labeling_ui.people.lockout import Throttle
from labeling_ui.records import ROLES, Annotator, Role
from labeling_ui.store import tables
from labeling_ui.store.database import Database, insert_new

LONGEST_NAME = 60
SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1000
INVITATION_HOURS = 72.0
_GONE = "This link was used already, or is too old. Ask for a new one."

hasher = PasswordHasher()


class Wrong(UserError):
    """The name or the password is wrong; which of them is not said."""

    def __init__(self) -> None:
        super().__init__("The name or the password is not right.")


@dataclass(frozen=True, slots=True)
class Person:
    """An account. Who has no password comes in by an invitation link; who is disabled does not come in at all."""

    id: str
    name: str
    role: Role
    email: str | None
    has_password: bool
    disabled: bool
    simulated: bool
    created_at: str


class Accounts:
    """People, invitations and failed sign-ins of a label store."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._throttle = Throttle(database, clock)

    def add(
        self, name: str, role: Role = "annotator", password: str | None = None, email: str | None = None
    ) -> Annotator:
        """Make an account; `UserError` where the name or the e-mail address is taken."""
        values = {
            **self._new(_given_name(name), role),
            "password_hash": _hashed(password) if password is not None else None,
            "email": _tidy_email(email),
        }
        try:
            with self._database.write() as connection:
                connection.execute(sa.insert(tables.annotators).values(values))
        except sa.exc.IntegrityError as error:
            raise UserError(f'the name "{values["name"]}" or the e-mail address is taken. Choose another.') from error
        return Annotator(values["id"], values["name"], role=role)

    def invite(self, role: Role, name: str | None = None, hours: float = INVITATION_HOURS) -> str:
        """A token that lets whoever has it in once, within `hours`: to a new account, or to the account of `name`.

        An account of that name is made now where there is none, so that nobody else can take the name meanwhile; one
        that is there keeps its role. Only the token's hash is stored: it cannot be shown again.
        """
        _check_role(role)
        if not 0 < hours <= 24 * 365:
            raise UserError(f"an invitation of {hours} hours: give more than 0, and at most a year (8760).")
        tidy = None if name is None else _given_name(name)
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._database.write() as connection:
            if tidy is not None:
                person = _by_name(connection, tidy)
                if person is None:
                    connection.execute(sa.insert(tables.annotators).values(self._new(tidy, role)))
                elif person.simulated:
                    raise UserError(f'"{tidy}" is a simulated annotator. Choose another name.')
                else:
                    role = person.role
            over = tables.invitations.c.expires_at < now
            connection.execute(sa.delete(tables.invitations).where(over))
            row = {"token_hash": _token_hash(token), "role": role, "name": tidy, "expires_at": now + 3600 * hours}
            connection.execute(sa.insert(tables.invitations).values(row))
        return token

    def invitation(self, token: str) -> tuple[Role, str | None]:
        """The role and the name (None: to be chosen) of an invitation that can still be used; `UserError` otherwise."""
        with self._database.read() as connection:
            row = connection.execute(self._open_invitation(token)).first()
        if row is None:
            raise UserError(_GONE)
        return row.role, row.name

    def redeem(self, token: str, name: str = "", password: str | None = None) -> Annotator:
        """Use an invitation, once. The name of an invitation to an account of its own is kept, whatever `name` says.

        A password is needed for reviewers and admins who have none; giving one ends the account's other sessions.
        """
        role, invited = self.invitation(token)
        tidy = invited if invited is not None else _given_name(name)
        hashed = _hashed(password) if password else None
        with self._database.write() as connection:
            if connection.execute(self._open_invitation(token)).first() is None:
                raise UserError(_GONE)
            person = _by_name(connection, tidy)
            if person is not None and (invited is None or person.disabled or person.simulated):
                raise UserError(f'The name "{tidy}" is taken. Choose another.' if invited is None else _GONE)
            if role != "annotator" and not hashed and (person is None or not person.password_hash):
                raise UserError("Please choose a password: this account can see more than its own tasks.")
            if person is None:
                values = {**self._new(tidy, role), "password_hash": hashed}
                connection.execute(sa.insert(tables.annotators).values(values))
                annotator = Annotator(values["id"], tidy, role=role)
            else:
                annotator = tables.annotator_of(person)
                if hashed:
                    _change(connection, annotator.id, password_hash=hashed)
            used = tables.invitations.c.token_hash == _token_hash(token)
            connection.execute(sa.update(tables.invitations).where(used).values(used_at=self._clock()))
        return annotator

    def sign_in(self, name: str, password: str, address: str) -> Annotator:
        """The person with that name and password.

        `Wrong`, after one and the same work, for a wrong password and for a name that is not there, has no password
        or is disabled; `LockedOut` after too many failures of the name or of the
        network address.
        """
        tidy = tidy_name(name)
        self._throttle.enter(tidy, address)
        with self._database.read() as connection:
            row = _by_name(connection, tidy)
        known = row is not None and not row.disabled and not row.simulated and row.password_hash is not None
        right = _matches(row.password_hash if row is not None and known else _nobodys_hash(), password)
        if row is None or not known or not right:
            raise Wrong
        self._throttle.passed(tidy, address)
        if hasher.check_needs_rehash(row.password_hash):
            with self._database.write() as connection:
                own = tables.annotators.c.id == row.id
                connection.execute(sa.update(tables.annotators).where(own).values(password_hash=_hashed(password)))
        return tables.annotator_of(row)

    def set_password(self, name: str, password: str) -> None:
        """Give a person another password; ends their sessions."""
        person = self._person(name)
        hashed = _hashed(password)
        with self._database.write() as connection:
            _change(connection, person.id, password_hash=hashed)

    def set_role(self, name: str, role: Role) -> None:
        """Change what a person may do; it holds from their next request on."""
        _check_role(role)
        person = self._person(name)
        if role != "annotator" and person.password_hash is None:
            raise UserError(f'"{person.name}" has no password, and a {role} needs one. Set one first.')
        with self._database.write() as connection:
            _change(connection, person.id, role=role)

    def disable(self, name: str, disabled: bool = True) -> None:
        """Let a person in no longer (or again); ends their sessions. What they judged stays."""
        person = self._person(name)
        with self._database.write() as connection:
            _change(connection, person.id, disabled=disabled)

    def forget(self, name_or_email: str, judgements: Literal["keep", "delete"] = "keep") -> int:
        """Remove a person; returns how many judgements of theirs were kept or deleted. See `forgetting.forget`."""
        return forgetting.forget(self._database, name_or_email, judgements)

    def list(self) -> Sequence[Person]:
        """Everybody, by name; also simulated annotators, and those whom imported data names."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(tables.annotators).order_by(tables.annotators.c.name)).all()
        return [_person_of(row) for row in rows]

    def person(self, annotator_id: str) -> Person:
        """The account of that id; `UserError` where it is gone."""
        with self._database.read() as connection:
            row = connection.execute(_by_id(annotator_id)).first()
        if row is None:
            raise UserError("this account is gone.")
        return _person_of(row)

    def has_admin(self) -> bool:
        """Whether anybody can administer the store."""
        admins = (tables.annotators.c.role == "admin") & ~tables.annotators.c.disabled
        with self._database.read() as connection:
            return connection.execute(sa.select(tables.annotators.c.id).where(admins).limit(1)).first() is not None

    def secret(self) -> str:
        """What signs sessions and tickets where several servers share the store: made once, and kept in it."""
        wanted = sa.select(tables.server_secrets.c.secret).where(tables.server_secrets.c.purpose == "signing")
        with self._database.read() as connection:
            known = connection.execute(wanted).scalar_one_or_none()
        if known is None:
            with self._database.write() as connection:
                row = {"purpose": "signing", "secret": secrets.token_hex(32)}
                insert_new(connection, tables.server_secrets, [row])
                known = connection.execute(wanted).scalar_one()
        return str(known)

    def session_version(self, annotator_id: str) -> int:
        """What a session that begins now must carry; `UserError` where the person is gone or disabled."""
        with self._database.read() as connection:
            row = connection.execute(_by_id(annotator_id)).first()
        if row is None or row.disabled:
            raise UserError("this account is gone.")
        return int(row.session_version)

    def session(self, annotator_id: str, session_version: int) -> Annotator | None:
        """The person of a session; None where it ended: signed out, another password, disabled or forgotten."""
        with self._database.read() as connection:
            row = connection.execute(_by_id(annotator_id)).first()
        if row is None or row.disabled or row.session_version != session_version:
            return None
        return tables.annotator_of(row)

    def end_sessions(self, annotator_id: str) -> None:
        """Sign a person out everywhere."""
        with self._database.write() as connection:
            _change(connection, annotator_id)

    def _person(self, name: str) -> sa.Row[Any]:
        with self._database.read() as connection:
            row = _by_name(connection, tidy_name(name)) or _by_name(connection, name)
        if row is None or row.simulated:
            raise UserError(f'there is no person "{name}" in this label store. `rlhf users list` shows who is.')
        return row

    def _new(self, name: str, role: Role) -> dict[str, Any]:
        _check_role(role)
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        return {"id": secrets.token_hex(8), "name": name, "simulated": False, "role": role, "created_at": now}

    def _open_invitation(self, token: str) -> sa.Select[Any]:
        table = tables.invitations
        usable = (table.c.used_at.is_(None), table.c.expires_at > self._clock())
        return sa.select(table).where(table.c.token_hash == _token_hash(token), *usable)


def tidy_name(name: str) -> str:
    """One spelling a name: composed Unicode, single spaces, nothing invisible; empty where it is not a name."""
    text = " ".join(unicodedata.normalize("NFC", name).split())
    printable = all(unicodedata.category(letter)[0] != "C" for letter in text)
    return text if printable and len(text) <= LONGEST_NAME else ""


def _given_name(name: str) -> str:
    tidy = tidy_name(name)
    if not tidy:
        raise UserError(f"Please give a name of up to {LONGEST_NAME} letters.")
    return tidy


def _tidy_email(email: str | None) -> str | None:
    if email is None or not email.strip():
        return None
    text = email.strip().casefold()
    before, at, after = text.partition("@")
    if not (before and at and after) or len(text) > 254 or any(letter.isspace() for letter in text):
        raise UserError(f'"{email}" is not an e-mail address.')
    return text


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise UserError(f'"{role}" is not a role. Choose one of {", ".join(ROLES)}.')


def _hashed(password: str) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UserError(f"A password needs {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} letters; longer is safer.")
    return hasher.hash(unicodedata.normalize("NFC", password))


def _matches(password_hash: str, password: str) -> bool:
    try:
        return hasher.verify(password_hash, unicodedata.normalize("NFC", password[: LONGEST_PASSWORD + 1]))
    except VerificationError:
        return False


@cache
def _nobodys_hash() -> str:
    """What the password of a name that is not there is compared with, so that it takes as long."""
    return hasher.hash(secrets.token_hex(16))


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _person_of(row: sa.Row[Any]) -> Person:
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


def _by_name(connection: sa.Connection, name: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(tables.annotators).where(tables.annotators.c.name == name)).first()


def _by_id(annotator_id: str) -> sa.Select[Any]:
    return sa.select(tables.annotators).where(tables.annotators.c.id == annotator_id)


def _change(connection: sa.Connection, annotator_id: str, **values: Any) -> None:
    """Change an account, and end its sessions."""
    table = tables.annotators
    ended = {"session_version": table.c.session_version + 1, **values}
    connection.execute(sa.update(table).where(table.c.id == annotator_id).values(ended))
