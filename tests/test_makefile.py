"""The Makefile's own environment, with a stand-in for Python that notes what it is asked to do."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INHERITED = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "RUN", "CONFIG", "ARGS", "PYTHON", "WORKERS"}

PYTHON = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
    *version_info*) exit {too_old} ;;
    *ensurepip*) exit {no_venv} ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"pip"*install*) [ ! -e "{log}.fail" ] || exit 1 ;;
    --version) echo "Python 3.9.1" ;;
esac
"""


class Clone:
    """A folder with the Makefile, and a Python that only takes notes."""

    def __init__(self, folder: Path, too_old: int = 0, no_venv: int = 0) -> None:
        self.folder = folder
        self.log = folder / "log"
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder / name)
        self.python = folder / "python"
        self.python.write_text(PYTHON.format(log=self.log, too_old=too_old, no_venv=no_venv))
        self.python.chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.log.write_text("")
        command = ["make", *arguments, f"PYTHON={self.python}"]
        # Without what an outer `make test` hands down.
        clean = {name: value for name, value in os.environ.items() if name not in INHERITED}
        return subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True, timeout=60)

    def did(self) -> list[str]:
        """What was done, in order: made an environment, installed, or the program's arguments."""
        steps = []
        for line in self.log.read_text().splitlines():
            if line.startswith("-m venv"):
                steps.append("venv")
            elif "pip" in line and "install" in line:
                steps.append("install dev" if ".[dev]" in line else "install")
            elif line.startswith("-m pipeline"):
                steps.append(line.removeprefix("-m pipeline "))
        return steps


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    if shutil.which("make") is None:
        pytest.skip("make is missing")
    return Clone(tmp_path)


def test_the_first_verb_installs_and_the_next_does_not(clone: Clone) -> None:
    assert clone.make("report").returncode == 0
    assert clone.did() == ["venv", "install", "report --run runs/default"]
    clone.make("report")
    assert clone.did() == ["report --run runs/default"]


def test_the_demo_needs_no_development_tools(clone: Clone) -> None:
    clone.make("demo")
    assert clone.did() == ["venv", "install", "loop --simulate --run runs/demo --config configs/demo.yaml"]


def test_run_config_and_arguments_are_passed_on(clone: Clone) -> None:
    clone.make("policy", "RUN=runs/mine", "CONFIG=mine.yaml", "ARGS=--set policy.steps=200")
    assert clone.did()[-1] == "policy --run runs/mine --config mine.yaml --set policy.steps=200"


def test_the_benchmark_of_a_gpu_has_a_verb_of_its_own_and_is_left_out_of_the_others(clone: Clone) -> None:
    (clone.folder / "benchmarks").mkdir()
    for name in ("bounds", "gpu", "verdict"):
        (clone.folder / "benchmarks" / f"{name}.py").touch()
    clone.make("bench")
    ran = [line for line in clone.log.read_text().splitlines() if line.startswith("benchmarks/")]
    assert ran == ["benchmarks/bounds.py", "benchmarks/verdict.py"]
    clone.make("bench-gpu", "ARGS=--minutes 5")
    assert "benchmarks/gpu.py --minutes 5" in clone.log.read_text()
    assert "bench-gpu Measure" in clone.make("help").stdout


def test_changed_pins_are_installed(clone: Clone) -> None:
    clone.make("report")
    later = (clone.folder / ".venv" / "installed").stat().st_mtime + 10
    os.utime(clone.folder / "constraints.txt", (later, later))
    clone.make("report")
    assert clone.did()[0] == "install"


def test_a_failed_installation_does_not_count_and_starts_anew(clone: Clone) -> None:
    fail = clone.folder / "log.fail"
    fail.touch()
    assert clone.make("report").returncode != 0
    assert clone.did() == ["venv", "install"]
    (clone.folder / ".venv" / "half").touch()
    fail.unlink()
    result = clone.make("report")
    assert "interrupted" in result.stdout
    assert clone.did() == ["venv", "install", "report --run runs/default"]
    assert not (clone.folder / ".venv" / "half").exists()


def test_an_interrupted_installation_of_the_tools_spoils_the_demo_too(clone: Clone) -> None:
    clone.make("report")
    (clone.folder / "log.fail").touch()
    assert clone.make("lint").returncode != 0
    (clone.folder / "log.fail").unlink()
    clone.make("report")
    assert clone.did() == ["venv", "install", "report --run runs/default"]


@pytest.mark.parametrize(
    ("fault", "told"), [("too_old", "Python 3.11 or newer is needed"), ("no_venv", "no venv module")]
)
def test_an_unfit_python_is_told_with_the_remedy(tmp_path: Path, clone: Clone, fault: str, told: str) -> None:
    result = Clone(tmp_path, **{fault: 1}).make("demo")
    assert result.returncode == 2
    assert told in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_documentation_names_the_verbs_that_are_commands_too() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = [
        verb
        for verb, command in re.findall(r"^(\w+):.*\n\t@\$\(RLHF\) (\w+)", makefile, re.MULTILINE)
        if verb == command
    ]
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sentence = re.search(r"the verbs are (.*?)\. All other", page, re.DOTALL)
    assert sentence
    assert sorted(re.findall(r"`(\w+)`", sentence[1])) == sorted(verbs)
