"""Run code that a model wrote against tests, in a process that can do little harm.

`python -I` in a temporary folder with an empty environment; limits on time, memory, file size and processes; if the
kernel allows it, no network, no files but its own, and nothing left running (`confinement.py`). It keeps accidents
and clumsy mischief in; it is no virtual machine. A response that attacks the harness, whose process it shares, can
claim to have passed.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

_CHILD = Path(__file__).with_name("confinement.py")
# Libraries that start a thread for each core would be stopped by the limit on processes.
_ENVIRONMENT = {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_GRACE = 5.0
_SHOWN = 2000


@dataclass(frozen=True)
class Limits:
    """What the code may use: wall clock and CPU seconds, memory and file size in MB, processes with their threads."""

    seconds: float = 5.0
    memory_mb: int = 512
    file_mb: int = 1
    processes: int = 1


@dataclass(frozen=True)
class Outcome:
    """Which tests passed, in order; how it ended; the last of what it printed, which is untrusted text."""

    passed: tuple[bool, ...]
    ended: Literal["finished", "killed"]
    output: str


def run_tests(code: str, tests: Sequence[str], limits: Limits = Limits()) -> Outcome:
    """Execute `code`, then each of `tests` (statements that raise if they fail) in its namespace."""
    secret = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="rlhf-sandbox-", ignore_cleanup_errors=True) as scratch:
        # The code may run as another user: it may pass through here, and write in its own folder only.
        Path(scratch).chmod(0o711)
        folder = Path(scratch) / "work"
        folder.mkdir()
        folder.chmod(0o777)
        with (Path(scratch) / "results").open("w+b") as results, (Path(scratch) / "output").open("w+b") as output:
            job = {"code": code, "tests": list(tests), "secret": secret, "results": results.fileno(), **asdict(limits)}
            process = subprocess.Popen(
                [sys.executable, "-I", "-B", str(_CHILD)],
                stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=folder,
                env=_ENVIRONMENT | {"HOME": str(folder)}, pass_fds=[results.fileno()], start_new_session=True,
            )  # fmt: skip
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(json.dumps(job).encode(), timeout=limits.seconds + _GRACE)
            finally:
                _kill(process)
            lines = {line.strip() for line in _tail(results, 1 << 16).splitlines()}
            passed = tuple(f"{secret} {number}" in lines for number in range(len(tests)))
            return Outcome(passed, "finished" if process.returncode == 0 else "killed", _tail(output, _SHOWN))


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(file: BinaryIO, most: int) -> str:
    """The last `most` bytes as text."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - most))
    return file.read(most).decode(errors="replace")
