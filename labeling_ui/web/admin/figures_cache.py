"""Figures of a store, worked out beside the server: whoever looks gets the newest ones there are, at once.

Going through 100,000 tasks takes a processor for half a minute, and 1,000 a third of a second: in the server's own
process that would hold up every annotator. So another process does it, at a lower priority, and one at a time. Only
stores that hold next to nothing are read on the spot.
"""

import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from foundation.errors import UserError
from labeling_ui.quality.label_reader import check_campaign
from labeling_ui.store.progress import is_small
from labeling_ui.store.store import Store

if TYPE_CHECKING:
    from labeling_ui.web.admin.figures import Overview

FRESH_SECONDS = 15.0
SMALL = 50
"""Tasks, and events, up to which the figures are worked out while one waits: they take 50 ms of a processor."""
SHARE = 0.2
"""Of the time, at most so much is spent on the same figures."""
LONGEST_SECONDS = 3600

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """An overview, when it was begun (ISO 8601), and how many seconds it took."""

    overview: "Overview"
    at: str
    seconds: float


class OverviewCache:
    """Overviews of a store, each made at most every `FRESH_SECONDS`, however many look."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic, small: int = SMALL) -> None:
        """`clock` tells seconds (only tests replace it)."""
        self._store = store
        self._clock = clock
        self._small = small
        self._turn = threading.Lock()
        self._working = threading.Lock()
        self._made: dict[str | None, tuple[float, Figures]] = {}
        self._begun: set[str | None] = set()

    def __call__(self, campaign: str | None = None) -> Figures | None:
        """The newest figures of one campaign, or of all; None if the first are still being worked out.

        `UserError` if there is no such campaign.
        """
        check_campaign(self._store, campaign)
        with self._turn:
            at, made = self._made.get(campaign, (0.0, None))
            if made is not None and self._clock() - at <= max(FRESH_SECONDS, made.seconds / SHARE):
                return made
            if self._is_small():
                began, now = time.time(), self._clock()
                figures = Figures(_read(self._store, campaign), _iso(began), time.time() - began)
                self._made[campaign] = (now, figures)
                return figures
            if campaign not in self._begun:
                self._begun.add(campaign)
                threading.Thread(target=self._work_out, args=(campaign,), daemon=True).start()
        return made

    def _is_small(self) -> bool:
        with self._store.database.read() as connection:
            return is_small(connection, self._small)

    def _work_out(self, campaign: str | None) -> None:
        try:
            with self._working:
                began, now = time.time(), self._clock()
                overview = _in_a_process(self._store, campaign)
                figures = Figures(overview, _iso(began), time.time() - began)
            with self._turn:
                self._made[campaign] = (now, figures)
        except (UserError, subprocess.SubprocessError, OSError) as error:
            log.error("the figures could not be worked out: %s", error)
        finally:
            with self._turn:
                self._begun.discard(campaign)


def _in_a_process(store: Store, campaign: str | None) -> "Overview":
    # The address may hold a password, which a command line would show to everybody on the machine.
    address = store.database.engine.url.render_as_string(hide_password=False)
    asked = pickle.dumps((address, campaign))
    command = [sys.executable, "-m", "labeling_ui.web.admin.figures_cache"]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, timeout=LONGEST_SECONDS, check=True)
    found: Overview = pickle.loads(done.stdout)
    return found


def _read(store: Store, campaign: str | None) -> "Overview":
    from labeling_ui.web.admin.figures import read_overview  # statistics, which take seconds to load

    return read_overview(store, campaign)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _main() -> None:
    os.nice(10)
    address, campaign = pickle.loads(sys.stdin.buffer.read())
    store = Store(address)
    try:
        sys.stdout.buffer.write(pickle.dumps(_read(store, campaign)))
    finally:
        store.close()


if __name__ == "__main__":
    _main()
