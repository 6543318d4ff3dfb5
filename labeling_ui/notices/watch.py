"""Watching campaigns beside a server, and sending notices: a thread that sleeps most of the time.

Annotators wait for none of it: what takes a processor or a network is done by other processes, and the store is written
to only when something begins, ends or is sent. `NoticeWatch` does one step when it is told to.
"""

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.notices.agreement import AgreementWatch
from labeling_ui.notices.keeping import PAUSES, any_due, begin, end, lasting, take_due
from labeling_ui.notices.occasions import Occasion, occasions
from labeling_ui.notices.sending import deliver
from labeling_ui.notices.settings import NoticeSettings
from labeling_ui.store.store import Store

SECONDS = 30.0
"""Between two looks."""
SETTLED = 60.0
"""Seconds that a campaign must have been done: an answer can be taken back, and in doubt more are asked."""

log = logging.getLogger(__name__)


class NoticeWatch:
    """Tells the addresses of `settings` about the campaigns of a store; `secret` is the server's."""

    def __init__(
        self, store: Store, settings: NoticeSettings, secret: str, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` tells the seconds since 1970 (only tests replace it)."""
        self._store = store
        self._settings = settings
        self._clock = clock
        keys = settings.keys(secret)
        self._named = dict(zip(keys, settings.named, strict=True))
        self._addresses = {key: each.get_secret_value() for key, each in zip(keys, settings.addresses, strict=True)}
        self._agreement = AgreementWatch(store)
        self._done_since: dict[str, float] = {}

    def look(self) -> None:
        """Note what has begun and what is over."""
        now = self._clock()
        with self._store.database.read() as connection:
            found = list(occasions(connection, now, self._settings.stall_hours))
        self._note(found, now)
        self._note(self._agreement.look(), now)

    def _note(self, found: Iterable[Occasion], now: float) -> None:
        with self._store.database.read() as connection:
            known = lasting(connection)
        for each in found:
            told, is_so = (each.campaign, each.kind) in known, self._is_settled(each, now)
            if is_so and not told:
                with self._store.database.write() as connection:
                    begin(connection, each.campaign, each.kind, each.text, self._named, now)
            elif told and not each.now:
                with self._store.database.write() as connection:
                    end(connection, each.campaign, each.kind, now)

    def send(self) -> None:
        """Send what is due, an attempt each."""
        keys = list(self._addresses)
        while True:
            with self._store.database.read() as connection:
                if not any_due(connection, keys, self._clock()):
                    return
            with self._store.database.write() as connection:
                what = take_due(connection, keys, self._clock())
            if what is None:
                return
            about = f'the notice "{what.kind}" of the campaign "{what.campaign}" to {what.named}'
            problem = deliver(self._store, self._addresses[what.address], what)
            if not problem:
                log.info("sent %s", about)
            elif what.attempts < len(PAUSES):
                minutes = PAUSES[what.attempts - 1] / 60
                log.warning("%s was not sent: %s. It is tried again in %.0f minutes.", about, problem, minutes)
            else:
                log.error("%s was given up after %d attempts: %s.", about, what.attempts, problem)

    def _is_settled(self, what: Occasion, now: float) -> bool:
        if what.kind != "done":
            return what.now
        if not what.now:
            self._done_since.pop(what.campaign, None)
            return False
        return now - self._done_since.setdefault(what.campaign, now) >= SETTLED


@contextmanager
def watching(store: Store, settings: NoticeSettings, secret: str, seconds: float = SECONDS) -> Iterator[None]:
    """Watch in the background until left; a failure is logged, and tried again. Nothing without an address."""
    if not settings.addresses:
        yield
        return
    over, watch = threading.Event(), NoticeWatch(store, settings, secret)

    def work() -> None:
        while not over.wait(seconds):
            for step in (watch.look, watch.send):
                try:
                    step()
                except (UserError, sa.exc.SQLAlchemyError, subprocess.SubprocessError, OSError) as error:
                    log.error("notices: %s", error)

    thread = threading.Thread(target=work, name="notices", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1)
