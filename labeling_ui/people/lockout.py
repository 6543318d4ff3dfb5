"""How often a sign-in may be tried: failures, by name and by network address, lock it for longer and longer.

Counts are kept in the label store, so that a restart or a second server process does not reset them. Names and
addresses are kept as hashes only. Left out on purpose: whether a password is right (`accounts.py`).
"""

import hashlib
import ipaddress
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.store import tables
from labeling_ui.store.database import Database

FREE_BY_NAME = 5
FREE_BY_ADDRESS = 20  # an office may share one
FIRST_LOCK = 30.0
LONGEST_LOCK = 3600.0
FORGOTTEN_AFTER = 24 * 3600.0


class LockedOut(UserError):
    """Too many failures; `seconds` is how long to wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, round(seconds))
        super().__init__(f"Too many attempts. Wait {self.seconds} seconds, then try again.")


class Lockout:
    """Failures and locks in the table `sign_in_attempts`."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def enter(self, name: str, address: str) -> None:
        """Count an attempt as failed before it is checked; `LockedOut` if the name or the address is locked.

        Counting first is what stops many attempts at once from overtaking the count. After the free failures each
        further one doubles the lock, from half a minute to an hour; a day without failures and all is forgotten.
        An attempt made while locked is refused without a look at the password, and does not lengthen the lock.
        """
        attempts, now = tables.sign_in_attempts, self._clock()
        free = {name_key(name): FREE_BY_NAME, _address_key(address): FREE_BY_ADDRESS}
        with self._database.write() as connection:
            # A row from the future is left over from a clock that was wrong.
            stale = (attempts.c.locked_until < now - FORGOTTEN_AFTER) | (attempts.c.locked_until > now + LONGEST_LOCK)
            connection.execute(sa.delete(attempts).where(stale))
            rows = connection.execute(sa.select(attempts).where(attempts.c.key.in_(free))).all()
            wait = max((row.locked_until - now for row in rows), default=0.0)
            if wait <= 0:
                failures = {row.key: row.failures for row in rows}
                for key, limit in free.items():
                    _put(connection, key, failures.get(key, 0) + 1, limit, now, new=key not in failures)
        if wait > 0:
            raise LockedOut(wait)

    def passed(self, name: str, address: str) -> None:
        """The attempt was no failure: forget those of the name; of the address only this one.

        Else whoever has an account could guess at others' passwords, and sign in between to be forgiven.
        """
        attempts = tables.sign_in_attempts
        with self._database.write() as connection:
            connection.execute(sa.delete(attempts).where(attempts.c.key == name_key(name)))
            here = attempts.c.key == _address_key(address)
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
