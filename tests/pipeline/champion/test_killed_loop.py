"""A loop that is killed around its verdict and its decision ends with the same champion."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.champion.history import current, history
from pipeline.runs.folder import Run
from tests.pipeline import tiny
from tests.pipeline.champion.verdicts import GENEROUS
from tests.pipeline.verdict.conftest import _tuned, tuned, verdict_settings

__all__ = ["_tuned", "tuned", "verdict_settings"]

KILLS = [
    ("pipeline.evaluation.comparison:respond", 2),
    ("pipeline.verdict.deciding:_write", 1),
    ("pipeline.champion.history:append", 1),
    ("pipeline.champion.history:write_json", 1),
    ("pipeline.exporting.adapter:export_adapter", 1),
]
"""A function, and the call before which the process is killed."""


def decisions(path: Path) -> list[dict[str, Any]]:
    return [each.model_dump(exclude={"at"}) for each in history(Run(path))]


@pytest.mark.timeout(900)
def test_a_loop_that_is_killed_five_times_has_the_same_champion(
    tuned: Path, verdict_settings: list[str], tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(tuned, tmp_path / "whole"))
    overrides = [part for each in (*verdict_settings, *GENEROUS, "verdict.enabled=true") for part in ("--set", each)]
    loop = ["loop", "--simulate", *overrides, "--run"]
    for kill in KILLS:
        status, shown = tiny.rlhf(*loop, tuned, log=tmp_path / "log", kill=kill)
        assert status == -signal.SIGKILL, (kill, shown)
    for path in (tuned, whole):
        status, shown = tiny.rlhf(*loop, path, log=tmp_path / "log")
        assert status == 0, shown
    assert decisions(tuned) == decisions(whole)
    assert len(decisions(whole)) == 1, "it was decided on once"
    assert current(Run(tuned)).sha256 == current(Run(whole)).sha256
