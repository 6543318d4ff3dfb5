"""A command that has nothing to load does what it does for people: words, folder, streams, status, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.cli.interrupts import STOPPED
from tests.suite.quick_command import CLIENT, address


def started(folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", CLIENT, address(), *words], cwd=folder, env=os.environ | variables,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_it_answers_like_the_real_one(tmp_path: Path) -> None:
    arguments = ["users", "add", "Ann Lee", "--role", "admin", "--run", "mine"]
    added = started(tmp_path, *arguments)
    said, _ = added.communicate("correct horse\ncorrect horse\n")
    assert added.returncode == 0
    assert "Ann Lee can sign in as admin" in said
    assert (tmp_path / "mine" / "labels.db").is_file()
    again = started(tmp_path, *arguments)
    assert "error: " in again.communicate("correct horse\ncorrect horse\n")[1]
    assert again.returncode == 2


def test_it_reads_the_variables_that_it_is_given(tmp_path: Path) -> None:
    refused = started(tmp_path, "collect", "--run", "mine", RLHF_POLICY__STEPS="many")
    assert "policy.steps" in refused.communicate()[1]
    assert refused.returncode == 2


@pytest.fixture
def waiting(tmp_path: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A command that waits for an answer, and its process."""
    client = started(tmp_path, "users", "add", "Ann", "--role", "admin", "--run", "mine")
    assert client.stderr
    assert client.stdout
    asked = client.stdout.read(len("Password"))
    assert asked == "Password"
    (command,) = [
        each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(tmp_path) and each.pid != client.pid
    ]
    return client, command


def test_ctrl_c_reaches_it(waiting: tuple[subprocess.Popen[str], psutil.Process]) -> None:
    client, command = waiting
    client.send_signal(signal.SIGINT)
    assert STOPPED in client.communicate()[1]
    assert client.returncode == 130
    assert not command.is_running()


def test_it_ends_with_its_client(waiting: tuple[subprocess.Popen[str], psutil.Process]) -> None:
    client, command = waiting
    client.kill()
    client.communicate()
    deadline = time.monotonic() + 120
    while command.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.01)
