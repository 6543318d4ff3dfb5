"""Skills for adaptive overlap, estimated anew as answers come in, and the tasks that are in doubt by them.

Between two estimates every answer is weighed by the last one, in its own transaction
(`store/campaign_rules/adaptive_overlap.py`). `SkillKeeper` does one step when it is told to; `keeping_skills` does so
beside a server. In large stores an estimate takes a processor for a while, so another process makes it, and tasks
follow in short transactions that hold up nobody.

    python -m labeling_ui.quality.skill_keeping < (a pickled address and name)
"""

import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.quality.label_reader import read_labels
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules.adaptive_overlap import changes_wanted, follow_votes, set_skills
from labeling_ui.store.campaigns import settings_now
from labeling_ui.store.progress import is_small
from labeling_ui.store.store import Store

SECONDS = 5.0
"""Between two looks at whether anything is due."""
SMALL = 400
"""Tasks, and events, up to which skills are estimated in the server's own process: that takes 50 ms of a processor."""
LONGEST_SECONDS = 3600
_GROWTH, _FEWEST = 1.1, 10
_CHUNK, _PAUSE = 500, 0.02

log = logging.getLogger(__name__)


class SkillKeeper:
    """Estimates the skills of a campaign again when a tenth more was said, and when all its tasks are finished."""

    def __init__(self, store: Store, small: int = SMALL) -> None:
        self._store, self._small = store, small
        self._last: dict[str, int] = {}  # the newest event at the last estimate, by campaign

    def keep(self, *, at_once: bool = False) -> int:
        """Estimate what is due (`at_once`: whatever is not up to date); returns how many tasks need more or fewer."""
        return sum(self._keep(name, at_once) for name in self._adaptive())

    def _adaptive(self) -> list[str]:
        return [each.name for each in self._store.campaigns() if each.max_overlap is not None]

    def _keep(self, campaign: str, at_once: bool) -> int:
        newest, last = self._newest(), self._last.get(campaign)
        if newest == last:
            return 0
        due = at_once or last is None or newest >= last * _GROWTH + _FEWEST
        if not due and self._store.waiting(campaign):
            return 0
        with self._store.database.read() as connection:
            estimate = estimate_skills if is_small(connection, self._small) else _in_a_process
        changed = estimate(self._store, campaign)
        self._last[campaign] = newest
        return changed

    def _newest(self) -> int:
        with self._store.database.read() as connection:
            return int(connection.execute(sa.select(sa.func.max(tables.events.c.number))).scalar_one() or 0)


def estimate_skills(store: Store, campaign: str) -> int:
    """Estimate the skills of a campaign's annotators, and let its tasks follow; returns how many changed.

    If this is interrupted, the next estimate does what is left.
    """
    from labeling_ui.quality.assessment import accuracies  # statistics, which take seconds to load

    found = accuracies(read_labels(store, campaign))
    tasks, changed = tables.tasks.c, 0
    with store.database.write() as connection:
        set_skills(connection, campaign, found)
        theirs = sa.select(tasks.id).where(tasks.campaign == campaign, tasks.first_overlap.is_not(None))
        ids = list(connection.execute(theirs).scalars())
    for at in range(0, len(ids), _CHUNK):
        with store.database.read() as connection:
            wanted = list(changes_wanted(connection, settings_now(connection)[campaign], ids[at : at + _CHUNK]))
        if wanted:
            began = time.monotonic()
            with store.database.write() as connection:
                changed += follow_votes(connection, settings_now(connection)[campaign], wanted)
            time.sleep(max(_PAUSE, time.monotonic() - began))  # SQLite has no queue: let other processes write
    return changed


@contextmanager
def keeping_skills(store: Store, seconds: float = SECONDS) -> Iterator[None]:
    """Keep skills up to date in the background until left; a failure is logged, and tried again."""
    over, keeper = threading.Event(), SkillKeeper(store)

    def work() -> None:
        while not over.wait(seconds):
            try:
                keeper.keep()
            except (UserError, sa.exc.SQLAlchemyError, subprocess.SubprocessError, OSError) as error:
                log.error("skills could not be estimated: %s", error)

    thread = threading.Thread(target=work, name="skills", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(seconds)


def _in_a_process(store: Store, campaign: str) -> int:
    # The address may hold a password, which a command line would show to everybody on the machine.
    address = store.database.engine.url.render_as_string(hide_password=False)
    asked = pickle.dumps((address, campaign))
    command = [sys.executable, "-m", "labeling_ui.quality.skill_keeping"]
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, timeout=LONGEST_SECONDS, check=True)
    return int(done.stdout)


def _main() -> None:
    os.nice(10)
    address, campaign = pickle.loads(sys.stdin.buffer.read())
    store = Store(address)
    try:
        print(estimate_skills(store, campaign))
    finally:
        store.close()


if __name__ == "__main__":
    _main()
