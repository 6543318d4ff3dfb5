"""`rlhf reward` in two processes: the reward model that one process trains, also after a kill; weights divided."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from backbone.adapter_folder import WEIGHTS
from backbone.training import sharded_weights
from foundation.errors import UserError
from foundation.files import read_json
from pipeline import stages
from reward_model.ensemble import member_folder
from reward_model.reward_folder import FIGURES
from reward_model.training import processes
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


def on_shards(arguments: list[str], killed: bool) -> None:
    """`rlhf` under a launcher that shards weights; `killed` ends the second process amid training."""
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    load = sharded_weights.load_sharded_base

    def told(*given: Any, **named: Any) -> Any:
        base = load(*given, **named)
        shards = [weight for weight in base.base.parameters() if isinstance(weight, DTensor)]
        print(f"{len(shards)} sharded, {sum(weight.to_local().numel() for weight in shards)} weights here")
        return base

    processes.load_sharded_base = told  # type: ignore[attr-defined]
    kill = ("reward_model.training.label_trainer:ReportSteps.on_step_end", 6)
    tiny.command(arguments, kill if killed and os.environ["RANK"] == "1" else None)


def test_a_base_that_is_divided_among_two_processes_gives_the_reward_models_of_one_also_after_a_kill(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    settings = [
        *tiny_settings, "reward.batch_size=6", "reward.micro_batch=3", "reward.epochs=2", "reward.patience=2",
        "reward.ensemble=2", "reward.gradient_checkpointing=true",
    ]  # fmt: skip
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for run in (alone, shared):
        shutil.copytree(finished, run)
    stages.reward(*tiny.opened(alone, settings))

    logs = [tmp_path / "printed-0", tmp_path / "printed-1"]
    assert forked.run_two(on_shards, given(shared, settings), True, logs=logs) == [2, -signal.SIGKILL]
    assert "error: process 1 of 2 is gone" in logs[0].read_text()
    assert list((shared / "round-000" / ".reward.partial").glob("checkpoints/checkpoint-*/whole"))

    statuses = forked.run_two(on_shards, given(shared, settings), False, logs=logs)
    printed = [log.read_text() for log in logs]
    assert statuses == [0, 0], printed
    assert "reward: going on where it was interrupted." in printed[0]
    layers = 2 * 9  # of a Llama: four linear layers of attention, three of the MLP, two norms
    whole = load_file(model_of(settings) / "model.safetensors")
    weights = sum(value.numel() for name, value in whole.items() if ".layers." in name)
    for each in printed:  # both trainings, each measured on a base loaded anew, and the ensemble
        assert each.count(f"{layers} sharded, {weights // 2} weights here") == 5, each
    folders = [run / "round-000" / "reward" for run in (alone, shared)]
    for number in (0, 1):
        one, two = (load_file(member_folder(folder, number) / WEIGHTS) for folder in folders)
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert (value - two[name]).abs().max() <= TOLERANCE, name
    figures = [read_json(folder / FIGURES) for folder in folders]
    same = ("accuracy", "loss", "ensemble_accuracy", "length_accuracy", "judge_accuracy", "n", "steps", "best_step")
    for name in (name for name in same if name in figures[0]):
        assert figures[1][name] == pytest.approx(figures[0][name], abs=1e-4), name
    assert sorted(path.name for path in folders[0].iterdir()) == sorted(path.name for path in folders[1].iterdir())


def model_of(settings: list[str]) -> Path:
    return Path(next(each.removeprefix("model=") for each in settings if each.startswith("model=")))


@pytest.mark.parametrize(
    ("variable", "quantization", "message"),
    [
        ("ACCELERATE_USE_DEEPSPEED", None, "shards weights by FSDP2, not by DeepSpeed"),
        ("FSDP_OFFLOAD_PARAMS", None, "Leave fsdp_offload_params out"),
        ("ACCELERATE_USE_FSDP", "nf4", "quantization=nf4 and weights sharded by FSDP or DeepSpeed do not go together"),
    ],
)
def test_what_cannot_be_sharded_is_refused_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, variable: str, quantization: Any, message: str
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv(variable, "true")
    with pytest.raises(UserError, match=message):
        Processes(0, 2, torch.device("cpu")).load_base("nowhere", "auto", "auto", "auto", quantization)


@pytest.mark.parametrize("lengths", [[7], [5, 5, 90, 5, 5], [1] * 8, [3, 2, 1]])
def test_every_sequence_has_one_process_and_tokens_are_balanced(lengths: list[int]) -> None:
    batch: list[dict[str, Any]] = [{"length": length} for length in lengths]
    shares = [Processes(rank, 3, torch.device("cpu")).share(batch) for rank in range(3)]
    assert sorted(place for share in shares for place in share) == list(range(len(lengths)))
    tokens = [sum(lengths[place] for place in share) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths)
    assert Processes().share(batch) == list(range(len(lengths)))
