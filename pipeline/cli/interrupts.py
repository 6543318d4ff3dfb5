"""Ctrl-C: one line and exit status 130, whatever the process is doing. Imports nothing but the standard library.

Before a command begins and after it has ended, the process ends at once. While it works, Ctrl-C is a
`KeyboardInterrupt`, which lets it finish what it is writing (`exit_status.py`). Modules that are imported in the middle
of it are no place for that one: libraries swallow it there, or turn it into an error of their own. Processes of a
launcher, once they have met, end together (`launched_processes.py`).
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

STOPPED = "Stopped. Nothing finished is lost; the same command goes on from here."
_SHOW_CURSOR = "\x1b[?25h"  # progress bars hide it


def end_at_once() -> None:
    """Let Ctrl-C end the process at once, unless it was started to ignore it (`nohup`, a shell's `&`)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def end_in_order() -> Iterator[None]:
    """Inside, Ctrl-C raises `KeyboardInterrupt`, except in the middle of an import; for processes that end at once."""
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _end)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    if _importing(frame):
        _end(number, frame)
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with suppress(Exception):  # output may be in the middle of being written
        if sys.stdout.isatty():
            sys.stdout.write(_SHOW_CURSOR)
        sys.stdout.flush()
    if os.environ.get("RANK", "0") == "0":  # one process of a launcher tells
        os.write(2, f"{STOPPED}\n".encode())
    os._exit(130)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
