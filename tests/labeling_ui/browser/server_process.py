"""The server process of `serving.py`, started and ended."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]


@contextmanager
def served(*paths: Path) -> Iterator[list[str]]:
    """The addresses of a server process for these databases, one each."""
    command = [sys.executable, "-m", "tests.labeling_ui.browser.serving", *map(str, paths)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield [server.stdout.readline().strip() for _ in paths]
        finally:
            server.terminate()
