"""How often a sign-in may be tried: failures, by name and by network address, lock it for longer and longer.

Counts are kept in the label store, so that a restart or a second server process does not reset them. Names and
addresses are kept as hashes only. Left out on purpose: whether a password is right (`accounts.py`).
"""

import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.store import tables
from labeling_ui.store.database import Database

FREE_BY_NAME = 5
FREE_BY_ADDRESS = 20  # an office may share one
FIRST_LOCK = 30.0
LONGEST_LOCK = 3600.0
FORGOTTEN_AFTER = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Device:
    """A browser in which a person has signed in before, as its signed cookie says."""

    annotator_id: str
    key: str


class Attempt(NamedTuple):
    """What an attempt is counted under: the name or a known device, and the address where that counts."""

    forgiven: str
    address: str = ""


class LockedOut(UserError):
    """Too many failures; `seconds` is how long to wait, `first` whether nothing was refused since the last failure."""

    def __init__(self, seconds: float, first: bool = True) -> None:
        self.seconds = max(1, round(seconds))
        self.first = first
        super().__init__(f"Too many attempts. Wait {self.seconds} seconds, then try again.")


class Lockout:
    """Failures and locks in the table `sign_in_attempts`."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._told: dict[str, float] = {}

    def enter(self, name: str, address: str, device: str | None = None) -> Attempt:
        """Count an attempt as failed before it is checked; `LockedOut` if the name or the address is locked.

        Counting first is what stops many attempts at once from overtaking the count. After the free failures each
        further one doubles the lock, from half a minute to an hour; a day without failures and all is forgotten.
        An attempt made while locked is refused without a look at the password, and does not lengthen the lock.

        From a `device` in which the owner of the name has signed in before, only its own failures count: whoever locks
        a name from elsewhere does not lock its owner out.
        """
        attempts, now = tables.sign_in_attempts, self._clock()
        attempt = Attempt(_hash("device", device)) if device else Attempt(name_key(name), _address_key(address))
        free = {attempt.forgiven: FREE_BY_NAME}
        if attempt.address:
            free[attempt.address] = FREE_BY_ADDRESS
        with self._database.write() as connection:
            # A row from the future is left over from a clock that was wrong.
            stale = (attempts.c.locked_until < now - FORGOTTEN_AFTER) | (attempts.c.locked_until > now + LONGEST_LOCK)
            connection.execute(sa.delete(attempts).where(stale))
            rows = connection.execute(sa.select(attempts).where(attempts.c.key.in_(free))).all()
            longest = max(rows, key=lambda row: row.locked_until, default=None)
            if longest is None or longest.locked_until <= now:
                failures = {row.key: row.failures for row in rows}
                for key, limit in free.items():
                    _put(connection, key, failures.get(key, 0) + 1, limit, now, new=key not in failures)
                return attempt
        first = self._told.get(longest.key) != longest.locked_until
        self._told = {key: until for key, until in self._told.items() if until > now}
        self._told[longest.key] = longest.locked_until
        raise LockedOut(longest.locked_until - now, first)

    def passed(self, attempt: Attempt) -> None:
        """The attempt was no failure: forget those of the name or device; of the address only this one.

        Else whoever has an account could guess at others' passwords, and sign in between to be forgiven.
        """
        attempts = tables.sign_in_attempts
        with self._database.write() as connection:
            connection.execute(sa.delete(attempts).where(attempts.c.key == attempt.forgiven))
            here = attempts.c.key == attempt.address
            fewer = {"failures": attempts.c.failures - 1, "locked_until": self._clock()}
            connection.execute(sa.update(attempts).where(here).values(fewer))
            connection.execute(sa.delete(attempts).where(here, attempts.c.failures < 1))


def name_key(name: str) -> str:
    """What the failures of a name are kept under."""
    return _hash("name", name.casefold())


def _address_key(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return _hash("address", address)
    if parsed.version == 6:  # whoever has one address of a /64 has them all
        return _hash("address", str(ipaddress.ip_network((parsed, 64), strict=False)))
    return _hash("address", str(parsed))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _put(connection: sa.Connection, key: str, failures: int, limit: int, now: float, new: bool) -> None:
    lock = min(FIRST_LOCK * 2.0 ** min(failures - limit, 20), LONGEST_LOCK) if failures >= limit else 0.0
    values: dict[str, Any] = {"failures": failures, "locked_until": now + lock}
    attempts = tables.sign_in_attempts
    if new:
        connection.execute(sa.insert(attempts).values(key=key, **values))
    else:
        connection.execute(sa.update(attempts).where(attempts.c.key == key).values(values))
