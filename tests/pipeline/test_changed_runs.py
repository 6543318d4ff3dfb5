"""A finished run, with what it was made from moved, changed or taken away."""

import shutil
from pathlib import Path

import pytest

from pipeline import stages
from tests.pipeline import tiny
from tests.pipeline.runs.test_content import flip_last_byte
from tests.pipeline.test_stages import MADE


@pytest.fixture
def moved(finished: Path, tiny_settings: list[str], tiny_model: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of the run, with its model and its prompts file copied under other names."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(tiny_model, tmp_path / "renamed")
    prompts = tiny.prompts_file(tmp_path / "renamed.jsonl")
    return tmp_path / "run", [*tiny_settings, f"model={tmp_path}/renamed/", f"collect.prompts={prompts}"]


def test_a_copied_run_is_done_wherever_its_model_and_its_prompts_lie(moved: tuple[Path, list[str]]) -> None:
    run, config, console = tiny.opened(*moved)
    stages.loop(run, config, console, simulated=True)
    shown = tiny.printed(console)
    assert [name for name in MADE if f"{name}: already done" not in shown] == []


def test_a_model_overwritten_in_place_is_seen_by_every_stage_that_uses_it(moved: tuple[Path, list[str]]) -> None:
    flip_last_byte(moved[0].parent / "renamed" / "model.safetensors")
    run, config, console = tiny.opened(*moved)
    stages.loop(run, config, console, simulated=True)
    shown = tiny.printed(console)
    again = ["collect", "reward", "policy", "evaluate", "export"]
    assert [name for name in again if f"{name}: made anew because model changed" not in shown] == []
