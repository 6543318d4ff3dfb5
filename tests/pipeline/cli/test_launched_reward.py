"""`rlhf reward` in two processes: the reward model that one process trains, also after a kill."""

import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from foundation.files import read_json
from pipeline import stages
from reward_model.reward_folder import FIGURES
from reward_model.training.processes import Processes
from tests.pipeline import tiny
from tests.pipeline.cli.launching import Start, kill_one
from tests.suite import forked

# Largest difference seen: 3e-6 in a weight, from the order in which gradients are summed.
TOLERANCE = 1e-5


def given(run: Path, settings: list[str]) -> list[str]:
    return ["reward", "--run", str(run), *(word for each in settings for word in ("--set", each))]


def test_two_processes_train_the_reward_model_of_one_also_after_a_kill(
    start: Start, finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    settings = [
        *tiny_settings,
        "reward.batch_size=6",
        "reward.micro_batch=3",
        "reward.epochs=4",
        "reward.log_every=3",
        "reward.patience=2",
    ]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for run in (alone, shared):
        shutil.copytree(finished, run)
    record = stages.reward(*tiny.opened(alone, settings))

    launch = start("torchrun", *given(shared, settings))
    checkpoints, deadline = shared / "round-000" / ".reward.partial" / "checkpoints", time.monotonic() + 240
    while not list(checkpoints.glob("checkpoint-*/whole")):
        assert launch.launcher.poll() is None, launch.end()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = launch.workers()
    kill_one(launch)
    launch.end()
    assert psutil.wait_procs(workers, timeout=60)[1] == []

    logs = [tmp_path / "printed-0", tmp_path / "printed-1"]
    # Launchers come to the end in `test_documentation_shell.py`.
    statuses = forked.run_two(tiny.command, given(shared, settings), logs=logs)
    printed = "".join(log.read_text() for log in logs)
    assert statuses == [0, 0], printed
    assert printed.count("reward: going on where it was interrupted.") == 1
    one, two = (load_file(run / "round-000" / "reward" / WEIGHTS) for run in (alone, shared))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert (value - two[name]).abs().max() <= TOLERANCE, name
    figures = [read_json(run / "round-000" / "reward" / FIGURES) for run in (alone, shared)]
    assert figures[1]["checks"] == [pytest.approx(check, abs=TOLERANCE) for check in figures[0]["checks"]]
    assert len(figures[0]["log"]) > 1
    assert figures[1]["log"][-1] == pytest.approx(
        figures[0]["log"][-1], abs=1e-4
    )  # the first tells of steps since the kill
    made = tiny.opened(shared, settings)[0].record("reward")
    assert made
    assert made.basis == record.basis


@pytest.mark.parametrize("lengths", [[7], [5, 5, 90, 5, 5], [1] * 8, [3, 2, 1]])
def test_every_sequence_has_one_process_and_tokens_are_balanced(lengths: list[int]) -> None:
    batch: list[dict[str, Any]] = [{"length": length} for length in lengths]
    shares = [Processes(rank, 3, torch.device("cpu")).share(batch) for rank in range(3)]
    assert sorted(place for share in shares for place in share) == list(range(len(lengths)))
    tokens = [sum(lengths[place] for place in share) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths)
    assert Processes().share(batch) == list(range(len(lengths)))
