import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.pipeline.cli.launching import Launch, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a launcher; what is still there at the end of the test is killed."""
    launches: list[Launch] = []

    def starting(command: str, *arguments: str) -> Launch:
        launches.append(Launch(command, tmp_path / f"{len(launches)}.log", *arguments))
        return launches[-1]

    yield starting
    for launch in launches:
        with suppress(ProcessLookupError):
            os.killpg(launch.launcher.pid, signal.SIGKILL)
