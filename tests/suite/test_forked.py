"""Processes that tests start end as they would on their own, and know their ranks."""

import os
import signal
import sys
from pathlib import Path

from tests.suite import forked


def end(status: int) -> None:
    print("said before the end", flush=True)
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)


def test_what_became_of_a_process_is_told(tmp_path: Path) -> None:
    for status in (0, 3, -signal.SIGKILL):
        log = tmp_path / str(status)
        assert forked.run(end, status, log=log) == status
        assert log.read_text() == "said before the end\n"


def tell_rank() -> None:
    print(os.environ["RANK"], os.environ["WORLD_SIZE"])


def test_two_processes_know_their_ranks(tmp_path: Path) -> None:
    logs = [tmp_path / "first", tmp_path / "second"]
    assert forked.run_two(tell_rank, logs=logs) == [0, 0]
    assert [log.read_text() for log in logs] == ["0 2\n", "1 2\n"]
