"""A real server process for the browser's tests: one site for each database that it is given.

    python -m tests.labeling_ui.browser.serving a.db b.db

prints the address of each, one a line, and serves until it is ended. Typed prompts are answered by a stand-in that
counts, and that waits before its last word for as long as there is a file `a.hold` beside the database `a.db`.
"""

import select
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from labeling_ui.data_model import Message
from labeling_ui.people import passwords
from labeling_ui.people.signing_secret import secret_beside_file
from labeling_ui.store.store import Store
from labeling_ui.web.app import build_app
from tests.suite.quick_passwords import QUICK

WORDS = ("one", "two", "three", "four", "five", "six")


class Counting:
    """Two responses that grow by a word at a time, the last one not while the file `hold` is there."""

    def __init__(self, hold: Path) -> None:
        self.hold = hold

    @property
    def source(self) -> Mapping[str, Any]:
        return {"model": "counting"}

    def __call__(self, messages: Sequence[Message], seed: int) -> Iterator[tuple[str, str]]:
        for number in range(1, len(WORDS) + 1):
            time.sleep(0.05)
            while number == len(WORDS) and self.hold.exists():
                time.sleep(0.05)
            yield " ".join(WORDS[:number]), " ".join(reversed(WORDS[-number:]))


def main(paths: Sequence[str]) -> None:
    """Serve each database on a port of its own, from the first visit on."""
    passwords.hasher = QUICK
    waiting = {socket.create_server(("127.0.0.1", 0)): path for path in paths}
    for listener in waiting:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while waiting:
        for listener in select.select(list(waiting), [], [])[0]:
            path = waiting.pop(listener)
            app = build_app(Store(path), secret_beside_file(path), Counting(Path(path).with_suffix(".hold")))
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
            threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
