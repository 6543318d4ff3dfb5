"""How many threads compute, and that none of them spins for long; the files of a container are written by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation import threads

OURS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LOCAL_WORLD_SIZE")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Four cores of two hardware threads each, in a container without limits; nothing is set by the user."""
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for cpu in range(8):
        folder = tmp_path / f"cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    (tmp_path / "own").write_text("0::/jobs/mine\n")
    (tmp_path / "cgroup/jobs/mine").mkdir(parents=True)
    monkeypatch.setattr(threads, "_CPUS", tmp_path / "cpu")
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "_OWN_CGROUPS", tmp_path / "own")
    return tmp_path


def test_hardware_threads_of_one_core_count_once(machine: Path) -> None:
    assert threads.cores() == 4


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 4), ("50000 100000", 1), ("250000 100000", 2), ("900000 100000", 4)]
)
def test_a_containers_limit_is_respected(machine: Path, limit: str, cores: int) -> None:
    (machine / "cgroup/jobs/cpu.max").write_text(f"{limit}\n")
    assert threads.cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("50000", 1), ("200000", 2)])
def test_an_older_containers_limit_is_respected(machine: Path, quota: str, cores: int) -> None:
    (machine / "own").write_text("3:cpu,cpuacct:/docker/1234\n2:memory:/docker/1234\n")
    (machine / "cgroup/cpu").mkdir()  # the container sees its own group as the root
    (machine / "cgroup/cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (machine / "cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")
    assert threads.cores() == cores


def test_processes_of_a_launcher_share_the_cores(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    threads.settle()
    assert (os.environ["OMP_NUM_THREADS"], os.environ["GOMP_SPINCOUNT"]) == ("2", "3000")


def test_what_the_user_has_set_stays(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    threads.settle()
    assert "GOMP_SPINCOUNT" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_libgomp_takes_it_up_in_a_command() -> None:
    code = (
        "from pipeline import __main__\nfrom pipeline.cli import commands\n"
        "commands.main = lambda: None\n__main__.main()\nimport torch"
    )
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    environment |= {"OMP_DISPLAY_ENV": "verbose"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch is not built with libgomp here")
    assert "GOMP_SPINCOUNT = '3000'" in done.stderr
    assert f"OMP_NUM_THREADS = '{threads.cores()}'" in done.stderr


def test_a_number_holds_for_as_long_as_it_is_asked_for() -> None:
    import torch

    before = torch.get_num_threads()
    with threads.using(before + 1):
        assert torch.get_num_threads() == threads.number() == before + 1
    assert torch.get_num_threads() == before
