"""One step is recorded, with its phases, and nothing else is."""

import gzip
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline import stages
from pipeline.profiling import OPERATORS, TRACE, profiled
from policy.metrics import timed
from tests.pipeline import tiny


def step(number: int, size: int) -> dict[str, float]:
    """Some work in two phases, and the row that tells of it."""
    clock: dict[str, float] = {}
    with timed(clock, "sample"):
        torch.ones(size, size) @ torch.ones(size, size)
        time.sleep(0.02)
    with timed(clock, "update"):
        torch.ones(size).cumsum(0)
    return {"step": number} | {f"seconds_{phase}": seconds for phase, seconds in clock.items()}


def recorded(folder: Path) -> list[str]:
    with gzip.open(folder / TRACE, "rt") as file:
        return [event.get("name", "") for event in json.load(file)["traceEvents"]]


def test_the_second_step_is_recorded_with_its_phases(tmp_path: Path) -> None:
    said: list[str] = []
    with profiled(tmp_path / "profile", said.append) as on_step:
        for number, work in enumerate((torch.exp, torch.sin, torch.cos), start=1):
            work(torch.ones(3))
            on_step(step(number, 8))
    names = recorded(tmp_path / "profile")
    assert {"aten::exp", "aten::sin", "aten::cos"} & set(names) == {"aten::sin"}
    assert "sample" in names
    assert names.count("aten::cumsum") == names.count("update") == 1
    assert "aten::cumsum" in (tmp_path / "profile" / OPERATORS).read_text()
    assert len(said) == 2
    assert f"step 2 is recorded in {tmp_path / 'profile' / TRACE}" in said[1]


def test_steps_of_an_interrupted_attempt_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    said: list[str] = []
    earlier = [step(number, 8) for number in (1, 2, 3)]
    with profiled(tmp_path, said.append) as on_step:
        for row in earlier:
            on_step(row)
        on_step(step(4, 8))
        on_step(step(5, 8))
    assert "step 5 is recorded" in said[1]


def test_a_single_step_is_not_recorded_and_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with profiled(tmp_path / "profile", said.append) as on_step:
        on_step(step(1, 8))
    assert "takes two steps" in said[0]
    assert not (tmp_path / "profile").exists()


def fail_after_the_first_step(folder: Path) -> None:
    with profiled(folder, print) as on_step:
        on_step(step(1, 8))
        raise RuntimeError("broken")


def test_a_failure_ends_the_recording(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        fail_after_the_first_step(tmp_path)
    with profiled(tmp_path, print) as on_step:  # a recording that still ran would refuse another
        on_step(step(1, 8))
        on_step(step(2, 8))
    assert (tmp_path / TRACE).exists()


def test_the_policy_stage_is_recorded_and_learns_the_same(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run, config, console = tiny.opened(tmp_path / "run", tiny_settings)
    stages.policy(run, config, console, profile=True)
    assert "nothing was recorded, for the policy is made already" in tiny.printed(console)
    assert not (run.folder / "profile").exists()
    shutil.rmtree(run.folder / "policy")
    stages.policy(run, config, console, profile=True)
    assert f"step 2 is recorded in {run.folder / 'profile' / TRACE}" in tiny.printed(console)
    assert {"sample", "score", "reference", "update"} <= set(recorded(run.folder / "profile"))
    weights = "adapter_model.safetensors"
    before, after = (load_file(path / "round-000" / "policy" / weights) for path in (finished, run.path))
    assert all(torch.equal(before[name], after[name]) for name in before)
