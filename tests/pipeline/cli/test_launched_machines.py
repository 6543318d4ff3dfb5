"""`rlhf policy` and `rlhf reward` on two machines, each with its launcher: what one process does, also after a stop."""

import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from pipeline import stages
from pipeline.cli import launched_processes
from tests.pipeline import tiny
from tests.pipeline.cli.launching import Launch, Start, ctrl_c, kill_launcher
from tests.suite import forked

LINE = "accelerate launch --multi_gpu --num_machines 2 --machine_rank {} --num_processes 2 -m pipeline"
STOPPED = "Stopped. Nothing finished is lost; the same command goes on from here."
# Largest differences seen: 5e-7 in a policy, 3e-6 in a reward model, from the order in which gradients are summed.
TOLERANCE = 1e-5


def both(start: Start, *arguments: str) -> list[Launch]:
    """Both machines' launchers, on this host."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"--main_process_ip 127.0.0.1 --main_process_port {free.getsockname()[1]} -m"
    return [start(LINE.format(rank).replace("-m pipeline", f"{where} pipeline"), *arguments) for rank in (0, 1)]


def given(stage: str, run: Path, settings: list[str]) -> list[str]:
    return [stage, "--run", str(run), *(word for each in settings for word in ("--set", each))]


def same_adapter(one: Path, two: Path) -> None:
    weights, others = load_file(one / WEIGHTS), load_file(two / WEIGHTS)
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert (value - others[name]).abs().max() <= TOLERANCE, name


def kill_process(launch: Launch) -> None:
    launch.workers()[0].kill()


@pytest.mark.timeout(600)
def test_two_machines_go_on_after_a_stop_of_either_and_end_as_one_process_does(
    start: Start, tiny_settings: list[str], tmp_path: Path
) -> None:
    settings = [
        *tiny_settings, 'rewards=[{"name": "length", "target": 12, "unit": "characters"}]', "policy.steps=12",
        "policy.learning_rate=0.003",
    ]  # fmt: skip
    alone, run = tmp_path / "alone", tmp_path / "run"
    for each in (alone, run):
        each.mkdir()
    stages.policy(*tiny.opened(alone, settings))

    ways = [(1, kill_process, "error: process 1 of 2 is gone"), (0, kill_launcher, "error: the first process or its "
            "launcher is gone"), (1, ctrl_c, STOPPED)]  # fmt: skip
    checkpoints = run / "round-000" / ".policy.partial" / "checkpoints"
    for number, (machine, stop, said) in enumerate(ways):
        launches, deadline = both(start, *given("policy", run, settings)), time.monotonic() + 240
        while max((int(path.name[-6:]) for path in checkpoints.glob("step-*")), default=0) <= 2 * number:
            assert all(each.launcher.poll() is None for each in launches), [each.end() for each in launches]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = [worker for each in launches for worker in each.workers()]
        stop(launches[machine])
        assert psutil.wait_procs(workers, timeout=60)[1] == []
        printed = [each.end() for each in launches]
        assert printed[1 - machine].count(said) == 1, printed
        assert "Traceback (most recent call last):\n[rank" not in "".join(printed)
    # Launchers come to the end in the next test.
    statuses, printed = in_two(tmp_path, as_machines, given("policy", run, settings), str(run))
    assert statuses == [0, 0], printed
    assert printed[0].count("policy: going on where it was interrupted.") == 1
    same_adapter(alone / "round-000" / "policy", run / "round-000" / "policy")
    assert not list(run.glob(".processes-*"))


@pytest.mark.timeout(600)
def test_two_machines_train_the_reward_model_of_one_process(
    start: Start, finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    settings = [*tiny_settings, "reward.batch_size=6", "reward.micro_batch=3"]
    alone, run = tmp_path / "alone", tmp_path / "run"
    for each in (alone, run):
        shutil.copytree(finished, each)
    stages.reward(*tiny.opened(alone, settings))
    launches = both(start, *given("reward", run, settings))
    assert "reward is written" in launches[0].end()
    assert launches[1].end().count("reward") == 0
    same_adapter(alone / "round-000" / "reward", run / "round-000" / "reward")


def as_machines(arguments: list[str], second_run: str) -> None:
    """Two processes of two machines; the second has the run at another path."""
    if os.environ["RANK"] == "1":
        arguments = [second_run if each == arguments[2] else each for each in arguments]
    os.environ |= {"GROUP_RANK": os.environ["RANK"], "LOCAL_RANK": "0"}
    launched_processes._SEEING = 1.0
    tiny.command(arguments)


def in_two(folder: Path, function: Any, *arguments: Any) -> tuple[list[int], list[str]]:
    logs = [folder / "printed-0", folder / "printed-1"]
    return forked.run_two(function, *arguments, logs=logs), [log.read_text() for log in logs]


def test_a_run_that_is_not_shared_is_refused_on_both_machines(tiny_settings: list[str], tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    arguments = given("policy", tmp_path / "here", tiny_settings)
    statuses, printed = in_two(tmp_path, as_machines, arguments, str(tmp_path / "there"))
    assert statuses == [2, 2]
    refused, short = sorted((" ".join(each.split()) for each in printed), key=len, reverse=True)
    host = socket.gethostname()
    folders = f"different folders: {tmp_path / 'here'} on {host}, and {tmp_path / 'there'} on {host}. Put the run on a"
    assert f"error: the processes 0 and 1 work on {folders}" in refused
    assert short.endswith(f"of 2 has stopped; {host} shows why.")
    assert [*tmp_path.glob("*ere/*")] == []


def test_a_shared_run_may_have_another_path_on_the_second_machine(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "here")
    (tmp_path / "there").symlink_to("here")
    arguments = given("policy", tmp_path / "here", tiny_settings)
    statuses, printed = in_two(tmp_path, as_machines, arguments, str(tmp_path / "there"))
    assert statuses == [0, 0], printed
    assert "policy: already done" in printed[0]


def gone(first_waits_for: str) -> None:
    """The second process is killed while the first waits for something that will not tell it so, as on a GPU."""
    launched_processes._GONE = 1.0
    with launched_processes.together(lambda error: print(error) or 2):  # type: ignore[func-returns-value]
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        while not Path(first_waits_for).exists():
            time.sleep(0.1)


def test_a_process_that_is_gone_ends_those_that_wait_for_it(tmp_path: Path) -> None:
    statuses, printed = in_two(tmp_path, gone, str(tmp_path / "never"))
    assert statuses == [2, -signal.SIGKILL]
    assert "process 1 of 2 is gone: it was killed" in printed[0]
