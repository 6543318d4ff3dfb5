"""Looking at whether agreement has fallen (`quality/falls.py`), when enough was answered since the last look.

The figures are worked out by another process: going through a large store holds up annotators otherwise.
"""

import json
import pickle
import subprocess
import sys

import sqlalchemy as sa

from labeling_ui.notices.occasions import Occasion
from labeling_ui.store import tables
from labeling_ui.store.store import Store

LONGEST_SECONDS = 3600
_GROWTH, _FEWEST = 1.05, 60


class AgreementWatch:
    """Looks at every campaign again when a twentieth more was said in the store; the first time, at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = 0

    def look(self) -> list[Occasion]:
        """Whether agreement has fallen, for each campaign; empty while nothing is due."""
        newest = self._newest()
        if newest < self._last * _GROWTH + _FEWEST:
            return []
        found = []
        for campaign in self._store.campaigns():
            text = _in_a_process(self._store, campaign.name)
            found.append(Occasion(campaign.name, "agreement", text is not None, text or ""))
        self._last = newest
        return found

    def _newest(self) -> int:
        with self._store.database.read() as connection:
            return int(connection.execute(sa.select(sa.func.max(tables.events.c.number))).scalar_one() or 0)


def _in_a_process(store: Store, campaign: str) -> str | None:
    # The address may hold a password, which a command line would show to everybody on the machine.
    address = store.database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "labeling_ui.quality.falls"]
    asked = pickle.dumps((address, campaign))
    done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, timeout=LONGEST_SECONDS, check=True)
    found: str | None = json.loads(done.stdout)
    return found
