"""What `pip install` brings: the packages with all that they read, the configurations, and nothing of ours besides."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"pipeline", "labeling_ui", "reward_model", "policy", "backbone", "foundation"}
READ = {".jinja", ".jsonl", ".json", ".html", ".css", ".js", ".yaml", ".typed"}


def tracked(*folders: str) -> list[Path]:
    """The project's files, as far as git knows them, relative to its root."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so its own files cannot be told from others")
    command = ["git", "ls-files", "-z", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built from a copy of the project."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for file in tracked():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, copy / file, follow_symlinks=False)
    for hook in ("build_sdist", "build_wheel"):  # a process each: the second of two in one writes nothing
        build = f"import sys; from setuptools import build_meta; build_meta.{hook}(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", build, str(out)], cwd=copy, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> list[str]:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path).namelist()


def test_the_wheel_holds_exactly_the_packages(wheel: list[str]) -> None:
    top = {name.partition("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES | {"rlhf_pipeline.py"}
    assert not [name for name in wheel if "test" in name.partition("/")[0] or "benchmark" in name]


def test_the_wheel_holds_every_file_that_a_package_reads(wheel: list[str]) -> None:
    code = [str(file) for file in tracked(*PACKAGES) if file.suffix in READ | {".py"}]
    assert set(code) <= set(wheel)
    configurations = [f"pipeline/{file}" for file in tracked("configs")]
    assert configurations
    assert set(configurations) <= set(wheel)


def test_the_source_distribution_holds_every_test(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {str(file) for file in tracked("tests", "benchmarks", "configs", "docs", "Makefile", ".ci")} <= names


def test_a_shipped_task_is_played_by_name_where_only_the_wheel_is(built: Path, tmp_path: Path) -> None:
    (path,) = built.glob("*.whl")
    zipfile.ZipFile(path).extractall(tmp_path / "installed")
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-m", "pipeline", "play", "three_words", "--set", "learner.episodes=5"]
    done = subprocess.run(
        command, cwd=tmp_path / "elsewhere", env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "我" in done.stdout
