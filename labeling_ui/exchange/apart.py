"""An export's text, of all but small stores from another process: no annotator waits while somebody downloads one."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator

from foundation.files import json_line
from labeling_ui.exchange.exports.registry import rows
from labeling_ui.store.progress import is_small
from labeling_ui.store.store import Store

SMALL = 400
"""Tasks, and events, up to which an export is written where it is asked for: that takes 50 ms of a processor."""
_BLOCK = 1 << 16
_NICE = 10


def text(store: Store, kind: str, campaign: str | None = None, small: int = SMALL) -> Iterator[bytes]:
    """The rows as lines of JSON, in blocks that end anywhere: a line at a time, 10,000 take the server a second.

    `UserError` as `rows`. Where the other process fails, so does the iteration, instead of ending early.
    """
    with store.database.read() as connection:
        here = is_small(connection, small)
    return iter(["".join(_written(store, kind, campaign)).encode()]) if here else _apart(store, kind, campaign)


def _written(store: Store, kind: str, campaign: str | None) -> Iterator[str]:
    found = rows(store, kind, campaign)
    return (json_line(row) for row in found)


def _apart(store: Store, kind: str, campaign: str | None) -> Iterator[bytes]:
    # The address may hold a password, which a command line would show to everybody on the machine.
    address = store.database.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "labeling_ui.exchange.apart"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(pickle.dumps((address, kind, campaign)))
            worker.stdin.close()
            while block := worker.stdout.read(_BLOCK):
                yield block
        except BaseException:
            worker.kill()  # nobody reads on
            raise
    if worker.returncode:
        raise RuntimeError(f"the export {kind} ended with status {worker.returncode}")


def _main() -> None:
    os.nice(_NICE)
    address, kind, campaign = pickle.loads(sys.stdin.buffer.read())
    store = Store(address)
    try:
        for line in _written(store, kind, campaign):
            sys.stdout.buffer.write(line.encode())
    finally:
        store.close()


if __name__ == "__main__":
    _main()
