"""Code that a model wrote: what it may not do, and that its claims are not believed."""

import ctypes
import os
import sys
import time
from math import inf
from pathlib import Path
from typing import Any

import pytest

from reward_model.rewards.sandbox.runner import Limits, Outcome, run_tests

SECRET = "sk-do-not-show"
PATIENCE = 60.0


def attempt(code: str, **limits: Any) -> Outcome:
    """Passed only if the code did not raise."""
    return run_tests(code, ["pass"], Limits(**{"seconds": PATIENCE, **limits}))


def isolated(namespace: str) -> bool:
    """Whether the kernel lets the sandbox have what it asks for; else some limits are gone without."""
    try:
        limit = Path(f"/proc/sys/user/max_{namespace}_namespaces").read_text()
        refused = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        return int(limit) > 0 and not (os.geteuid() and refused.is_file() and int(refused.read_text()))
    except OSError:
        return False


def test_tests_pass_or_fail_each_on_its_own() -> None:
    code = "def double(x):\n    return 4"
    outcome = run_tests(
        code, ["assert double(2) == 4", "assert double(3) == 6", "x = double(1)", "assert x == 4"], Limits(PATIENCE)
    )
    assert outcome.passed == (True, False, True, True)
    assert outcome.ended == "finished"


@pytest.mark.parametrize(
    "code",
    ["def f(:", "raise SystemExit", "import os; os._exit(0)", "import sys; sys.exit(0)", "1 / 0", "print('0 1 2')"],
)
def test_code_that_ends_early_or_claims_success_passes_nothing(code: str) -> None:
    assert run_tests(code, ["assert False", "assert missing"]).passed == (False, False)


def test_endless_code_is_killed_in_time() -> None:
    for code in ("while True: pass", "import time; time.sleep(300)", "import signal; signal.pause()"):
        took = [inf]
        while min(took) > Limits.seconds and len(took) < 12:  # a busy machine is late at times, a missing limit always
            start = time.monotonic()
            assert attempt(code, seconds=0.5) == Outcome((False,), "killed", "")
            took.append(time.monotonic() - start)
        assert min(took) < Limits.seconds


def test_what_passed_before_the_time_was_up_still_counts() -> None:
    assert run_tests("", ["pass", "while True: pass", "pass"], Limits(seconds=1)).passed == (True, False, False)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("x = bytearray(1 << 30)", "MemoryError"),
        ("open('big', 'wb').write(b'x' * (3 << 20))", "OSError"),
    ],
)
def test_memory_and_files_are_limited(code: str, error: str) -> None:
    outcome = attempt(code)
    assert outcome.passed == (False,)
    assert error in outcome.output


def test_what_is_printed_is_captured_and_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    assert attempt("print('hello')").output == "hello\n"
    assert len(attempt("print('x' * 100_000)").output) == 2000
    assert attempt("import os\nwhile True: os.write(1, b'x' * 4096)", seconds=5).passed == (False,)
    assert capfd.readouterr() == ("", "")


def test_the_environment_and_the_project_are_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", SECRET)
    outcome = attempt("import os; print(dict(os.environ)); print(os.getcwd()); import foundation")
    assert SECRET not in outcome.output
    assert "rlhf-sandbox-" in outcome.output


@pytest.mark.skipif(not isolated("user"), reason="this kernel grants no user namespaces")
@pytest.mark.parametrize(
    "code",
    ["import os; os.fork()", "import threading; threading.Thread(target=print).start()"],
)
def test_no_further_processes_and_threads(code: str) -> None:
    assert attempt(code).passed == (False,)
    assert attempt(code, processes=4).passed == (True,)


@pytest.mark.skipif(not isolated("pid"), reason="this kernel grants no process namespaces")
def test_nothing_is_left_running(tmp_path: Path) -> None:
    mark = f"sandbox-{os.getpid()}-{time.monotonic_ns()}"
    daemon = f"import os\nif not os.fork():\n    os.setsid()\n    os.execvp('sleep', ['{mark}', '60'])"
    attempt(daemon, processes=4)
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(mark.encode() in line for line in running)


@pytest.mark.skipif(not isolated("net"), reason="this kernel grants no network namespaces")
def test_there_is_no_network() -> None:
    code = "import socket; socket.create_connection(('127.0.0.1', 1), 1)"
    outcome = attempt(code)
    assert outcome.passed == (False,)
    assert "unreachable" in outcome.output


def landlocked() -> bool:
    """Whether the kernel has Landlock: asked for its version, it gives one."""
    return sys.platform == "linux" and int(ctypes.CDLL(None).syscall(444, None, 0, 1)) > 0


@pytest.mark.skipif(not landlocked(), reason="this kernel has no Landlock")
def test_other_files_can_be_neither_read_nor_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    outcome = attempt(f"print(open({str(secret)!r}).read())")
    assert SECRET not in outcome.output
    assert "PermissionError" in outcome.output
    assert attempt(f"open({str(tmp_path / 'new')!r}, 'w')").passed == (False,)
    assert attempt("open('own', 'w').write('x'); assert open('own').read() == 'x'").passed == (True,)
