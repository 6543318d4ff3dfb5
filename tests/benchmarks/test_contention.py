"""The benchmark of contention, on the tiny model: every work is timed, and its neighbours end with it."""

import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import contention
from foundation.files import read_json


@pytest.mark.parametrize("work", ["policy", "reward", "collect", "evaluate"])
def test_each_work_is_timed_as_often_as_asked(tiny_model: Path, work: str) -> None:
    seconds = contention.WORK[work](str(tiny_model), "float32", 2)
    assert len(seconds) == 2
    assert min(seconds) > 0


def test_figures_are_told_beside_those_of_a_quiet_machine_and_no_neighbour_is_left(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "contention.json"
    options = ["--model", str(tiny_model), "--dtype", "float32", "--work", "collect", "--ways", "after"]
    monkeypatch.setattr(
        sys, "argv", ["contention", *options, "--neighbours", "0", "1", "--repeats", "1", "--json", str(out)]
    )
    contention.main()
    figures = read_json(out)["collect after"]
    assert set(figures) == {"0", "1"}
    assert f"1: {figures['1']:.2f} s ({figures['1'] / figures['0']:.2f})" in capsys.readouterr().out
    assert not any(contention.BURN in child.cmdline() for child in psutil.Process().children())
