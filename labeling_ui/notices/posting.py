"""The process that sends one notice by apprise, and says on standard output what went wrong: nothing if it was taken.

It is told everything on standard input, so that no address is on a command line, and the kernel ends it when its time
is over. What goes wrong is told in words of this module: apprise's own may hold the address, which is a secret.

    python -m labeling_ui.notices.posting < (an `Asked` as JSON)
"""

import json
import logging
import re
import signal
import sys
import time
from typing import NamedTuple


class Asked(NamedTuple):
    """What the process is told. With a `store`, it writes down there that the notice was sent, whoever was killed."""

    seconds: int
    address: str
    title: str
    text: str
    store: str = ""
    notice: int = 0
    key: str = ""


def post(address: str, title: str, text: str) -> str:
    """Send in this process; returns what went wrong, empty if it was taken."""
    import apprise

    silence()
    sender = apprise.Apprise(asset=apprise.AppriseAsset(storage_mode="memory"))
    if not sender.add(address):
        return "apprise cannot use it"
    with apprise.LogCapture(level=logging.WARNING) as said:  # type: ignore[no-untyped-call]
        sent = sender.notify(body=text, title=title, body_format=apprise.NotifyFormat.TEXT)
        return "" if sent else _problem(said.getvalue())


def _problem(said: str) -> str:
    status = re.search(r"\berror=(\d{3})\b", said)
    if status:
        return f"it answered {status[1]}"
    return "it could not be reached, or did not answer" if "onnection error" in said else "it did not take it"


def silence() -> None:
    """What apprise logs is for `_problem` alone."""
    logging.getLogger("apprise").propagate = False
    logging.getLogger("apprise").addHandler(logging.NullHandler())


def _main() -> None:
    asked = Asked(*json.load(sys.stdin))
    signal.alarm(asked.seconds)
    problem = post(asked.address, asked.title, asked.text)
    if not problem and asked.store:
        _write_down(asked)
    print(problem)


def _write_down(asked: Asked) -> None:
    from labeling_ui.notices.keeping import settle  # the store takes longer to load than a refusal to come
    from labeling_ui.store.database import Database

    database = Database(asked.store)
    with database.write() as connection:
        settle(connection, asked.notice, asked.key, time.time())
    database.close()


if __name__ == "__main__":
    _main()
