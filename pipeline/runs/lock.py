"""One command at a time on a run.

The lock belongs to the process: it ends with it, also after kill -9, and children do not inherit it.
The labeling server and imports take no lock; the database has its own transactions.
"""

import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import UserError


class RunLock:
    """A lock file that may be entered again by whoever holds it."""

    REMEMBERED = 120
    """Characters of the command that are kept in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._depth = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the lock; `UserError` where another process holds it."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+", encoding="utf-8") as file:
            try:
                # Record locks, not flock: a forked data loader must not keep the run locked after its parent died.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise UserError(
                    f"{self.path.parent} is in use by {holder}. Wait until it has ended, or choose another --run."
                ) from error
            file.truncate(0)
            file.write(f'"{_command()}" (process {os.getpid()})\n')
            file.flush()
            self._depth = 1
            try:
                yield
            finally:
                self._depth = 0

    def holder(self) -> str | None:
        """The command of another process that holds the lock, None if there is none. It is tried for a moment."""
        if self._depth or not self.path.is_file():
            return None
        with self.path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return self.last() or "another process"
        return None

    def last(self) -> str:
        """The command that holds the lock, or held it last, with its process; nothing if that is not known."""
        return self.path.read_text(encoding="utf-8").strip() if self.path.is_file() else ""


def _command() -> str:
    return shlex.join(["rlhf", *sys.argv[1:]])[: RunLock.REMEMBERED]
