"""`rlhf policy` in two processes, as the documentation starts them: what one process does, once, also after a kill."""

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file, save_file

from backbone.adapter_folder import WEIGHTS
from foundation.errors import UserError
from pipeline import stages
from pipeline.cli import launched_processes as launched
from pipeline.runs.lock import RunLock
from policy.training_log import MACHINE_METRICS
from tests.pipeline import tiny
from tests.pipeline.cli.launching import Launch, Start, ctrl_c, kill_launcher, kill_one
from tests.suite import forked

STOPPED = "Stopped. Nothing finished is lost; the same command goes on from here."
# Largest difference seen: 4e-6 in the adapter, from the order in which gradients are summed.
TOLERANCE = 1e-5


@pytest.fixture
def settings(tiny_settings: list[str], tiny_model: Path, tmp_path: Path) -> list[str]:
    """A policy stage without labels, on a model whose logits are large enough for an adapter to move them."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    weights = load_file(model / "model.safetensors")
    weights["model.embed_tokens.weight"] *= 10
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    return [
        *tiny_settings, f"model={model}", 'rewards=[{"name": "length", "target": 12, "unit": "characters"}]',
        "policy.steps=12", "policy.learning_rate=0.003", "policy.group=4", "policy.tracker=trackio",
    ]  # fmt: skip


def policy(run: Path, settings: list[str]) -> list[str]:
    """The arguments of `rlhf policy`."""
    return ["policy", "--run", str(run), *(word for each in settings for word in ("--set", each))]


def stop_amid_training(launch: Launch, run: Path, after: int, how: Callable[[Launch], None]) -> None:
    """Do it once there is a checkpoint of a step later than `after`, and see every process end."""
    checkpoints = run / "round-000" / ".policy.partial" / "checkpoints"
    deadline = time.monotonic() + 240
    while max((int(path.name[-6:]) for path in checkpoints.glob("step-*")), default=0) <= after:
        assert launch.launcher.poll() is None, launch.end()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = launch.workers()
    assert len(workers) == 2
    how(launch)
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert alive == []
    assert not (run / "round-000" / "policy").exists()


def in_two(folder: Path, *arguments: str, status: int, command: Callable[[list[str]], None] = tiny.command) -> str:
    """What two processes print, without a launcher; both end with the `status`."""
    logs = [folder / "printed-0", folder / "printed-1"]
    statuses = forked.run_two(command, list(arguments), logs=logs)
    printed = "".join(log.read_text() for log in logs)
    assert statuses == [status, status], printed
    return printed


def tracking_in(folder: str, arguments: list[str]) -> None:
    os.environ["TRACKIO_DIR"] = folder
    tiny.command(arguments)


def without_machine(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith(MACHINE_METRICS)}


def approximately(row: dict[str, Any]) -> dict[str, Any]:
    """What another number of processes may make of these figures."""
    return {
        name: pytest.approx(value, abs=TOLERANCE) if isinstance(value, float) else value
        for name, value in without_machine(row).items()
    }


def test_killed_or_interrupted_two_processes_go_on_and_end_as_one_does(
    start: Start, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    alone, _, _ = tiny.opened(tmp_path / "alone", settings)
    record = stages.policy(*tiny.opened(alone.path, settings))

    run = tmp_path / "run"
    ways = [("accelerate", kill_one), ("torchrun", kill_launcher), ("accelerate", ctrl_c)]
    for number, (launcher, stop) in enumerate(ways):
        launch = start(launcher, *policy(run, settings))
        stop_amid_training(launch, run, 2 * number, stop)
        assert launch.end().count(STOPPED) == (stop is ctrl_c)
    first = (run / "round-000" / ".policy.partial" / "log.jsonl").read_text().splitlines()[0]
    # Launchers come to the end in `test_documentation_shell.py`.
    command = partial(tracking_in, str(tmp_path / "trackio"))
    printed = in_two(tmp_path, *policy(run, settings), status=0, command=command)
    assert printed.count("policy: going on where it was interrupted.") == 1

    folders = [path / "round-000" for path in (alone.path, run)]
    assert [sorted(path.name for path in each.iterdir()) for each in folders] == [
        ["manifest.json", "policy", "prompts.jsonl"]
    ] * 2
    again = tiny.opened(run, settings)[0].record("policy")
    assert again is not None
    assert again.basis == record.basis
    assert without_machine(again.figures) == approximately(record.figures)
    one, two = (tiny.rows(each / "policy" / "log.jsonl") for each in folders)
    assert two[0] == json.loads(first)  # its seconds too: the first step was made once
    for ours, theirs in zip(one, two, strict=True):
        assert without_machine(theirs) == approximately(ours)
    adapters = [load_file(each / "policy" / WEIGHTS) for each in folders]
    assert adapters[0].keys() == adapters[1].keys()
    for name, value in adapters[0].items():
        assert (value - adapters[1][name]).abs().max() <= TOLERANCE, name


# --- What is refused: by both processes, and told by one ---


def message_of(printed: str) -> str:
    """The only one."""
    (message,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    return message


def refused(folder: Path, *arguments: str, command: Callable[[list[str]], None] = tiny.command) -> str:
    """What one of two processes says, without a launcher."""
    return message_of(in_two(folder, *arguments, status=2, command=command))


def test_a_step_that_cannot_be_divided_is_refused(start: Start, settings: list[str], tmp_path: Path) -> None:
    launch = start("accelerate", *policy(tmp_path / "run", [*settings, "policy.prompts_per_step=1"]))
    printed = launch.end()
    assert launch.launcher.returncode == 1  # the launcher's own
    assert printed.count("exitcode  : 2 (") == 2, printed
    assert "policy.prompts_per_step=1 cannot be divided among 2 processes" in message_of(printed)


def with_steps_by_rank(arguments: list[str]) -> None:
    os.environ["RLHF_POLICY__STEPS"] = str(int(os.environ["RANK"]) + 3)
    tiny.command(arguments)


def test_different_settings_are_refused_before_anything_is_written(settings: list[str], tmp_path: Path) -> None:
    given = policy(tmp_path / "run", [each for each in settings if "steps" not in each])
    message = refused(tmp_path, *given, command=with_steps_by_rank)
    assert "the processes 0 and 1 were given different settings: policy.steps is 3 and 4." in message
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_in_use_is_refused_by_the_processes_that_hold_no_lock_as_well(
    settings: list[str], tmp_path: Path
) -> None:
    with RunLock(tmp_path / "run" / ".lock")():
        message = refused(tmp_path, *policy(tmp_path / "run", settings))
    assert f"{tmp_path / 'run'} is in use by" in message


def test_what_runs_in_one_process_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, "evaluate", "--run", str(tmp_path / "run"))
    assert "`rlhf evaluate` runs in one process: start it without a launcher" in message


# --- An environment that no launcher made ---


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("RANK=0", "RANK=0, but no LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        ("WORLD_SIZE=2", "WORLD_SIZE=2, but no RANK"),
        ("RANK=1 LOCAL_RANK=1 WORLD_SIZE=2", "but no MASTER_ADDR, MASTER_PORT"),
        ("RANK=0 WORLD_SIZE=two", "WORLD_SIZE=two in the environment is not a number"),
        ("RANK=2 LOCAL_RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=1", "RANK=2 in the environment is not"),
    ],
)
def test_half_of_a_launchers_environment_is_refused(monkeypatch: pytest.MonkeyPatch, given: str, message: str) -> None:
    for pair in given.split():
        monkeypatch.setenv(*pair.split("="))
    with pytest.raises(UserError, match=message):
        launched.count()


def test_a_single_process_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched.count() == 1
    monkeypatch.setenv("WORLD_SIZE", "1")  # as in some container images
    assert launched.count() == 1


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The port at which processes would meet is in use by something else, which says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(stranger.getsockname()[1]))
        yield


@pytest.mark.usefixtures("taken")
def test_a_port_that_is_taken_is_named() -> None:
    with pytest.raises(UserError, match=r"process 0 of 2 did not meet the others at 127.0.0.1:\d+: .*already in use"):
        launched._store(0, 2)


@pytest.mark.usefixtures("taken")
def test_processes_that_do_not_answer_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # Until it is over, nobody answers. torch would wait for minutes, and print pages when the test closes the port.
    over = threading.Event()
    module = import_module("torch.distributed.rendezvous")  # torch.distributed has a function of that name
    monkeypatch.setattr(module, "rendezvous", lambda *where, **how: iter([(over.wait(), 1, 2)]))
    monkeypatch.setattr(launched, "_MEETING", 0.2)
    with pytest.raises(UserError, match=r"process 1 of 2 did not meet the others .* did not answer within"):
        launched._store(1, 2)
    over.set()
