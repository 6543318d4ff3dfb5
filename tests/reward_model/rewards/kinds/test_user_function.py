"""Reward functions of the user's, by their dotted path: they may hang, raise, print, or end."""

import logging
import os
import time
from pathlib import Path

import pytest

from foundation.errors import UserError
from reward_model.rewards.kinds.user_function import FunctionProcess
from reward_model.rewards.registry import build

SECRET = "sk-do-not-show"
MODULE = f"""
import os, sys, time
calls = 0

def good(prompts, completions, factor=1, **columns):
    global calls
    calls += 1
    return [factor * len(text) + calls for text in completions]

def hangs(prompts, completions, **columns):
    while True:
        pass

def raises(prompts, completions, **columns):
    raise KeyError("what")

def leaves(prompts, completions, **columns):
    os._exit(3)

def prints(prompts, completions, **columns):
    print("{SECRET}")
    sys.stderr.write("{SECRET}")
    os.write(1, b"{SECRET}")
    os.system("echo {SECRET}")
    return [1.0] * len(completions)

def nothing(prompts, completions, **columns):
    return [None] * len(completions)

def few(prompts, completions, **columns):
    return [1.0]

number = 5
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rewards.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def call(name: str, **parameters: object) -> list[float]:
    return build({"name": f"own_rewards.{name}", **parameters})(prompts=["p", "p"], completions=["ab", "abc"])


def test_a_function_is_called_with_its_arguments_and_keeps_its_state() -> None:
    reward = build({"name": "own_rewards.good", "arguments": {"factor": 10}})
    assert reward(prompts=["p"], completions=["ab"]) == [21]
    assert reward(prompts=["p"], completions=["ab"]) == [22]


def test_a_function_that_hangs_is_stopped() -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r'"own_rewards.hangs" took longer than 1 s and was stopped. Make it faster'):
        call("hangs", seconds=1)
    assert time.monotonic() - start < 50  # without a limit of its own, it is a minute


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", r"failed: KeyError: 'what' \(own_rewards.py, line \d+\)"),
        ("leaves", r"ended its process \(status 3\)"),
        ("nothing", r"is not finite \(row 1 of 2\)"),
        ("few", "returned 1 values for 2 completions"),
        ("number", "failed: TypeError: 'int' object is not callable"),
        ("absent", "could not be imported: AttributeError: module 'own_rewards' has no attribute 'absent'"),
    ],
)
def test_what_goes_wrong_is_one_clear_message(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f'the reward "own_rewards.{name}" {message}'):
        call(name)


def test_a_module_that_is_not_there_is_named_before_training() -> None:
    with pytest.raises(UserError, match="could not be imported: ModuleNotFoundError: No module named 'no_such'"):
        build({"name": "no_such.reward"})


def test_what_a_function_prints_is_never_shown(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert call("prints") == [1, 1]
    shown = capfd.readouterr()
    assert SECRET not in shown.out + shown.err + caplog.text
    assert 'the reward "own_rewards.prints" printed 29 characters; they are not shown.' in caplog.text


def test_its_process_ends_with_the_reward() -> None:
    worker = FunctionProcess("own_rewards.good", seconds=30)
    process = worker._process
    os.kill(process.pid, 0)
    del worker
    assert process.returncode is not None


def test_a_column_that_is_no_json_is_refused() -> None:
    reward = build({"name": "own_rewards.good"})
    with pytest.raises(UserError, match=r"cannot be given a column: Object of type set .* Use JSON values"):
        reward(prompts=["p"], completions=["x"], tags=[{1, 2}])
