"""How many threads compute, and how they wait for one another: settled once, before anything large is imported.

libgomp, with which torch computes, lets a thread that waits spin. Beside other work it spins away the very time that
the thread it waits for would need: a step takes many times as long. A short spin costs next to nothing on a quiet
machine. libgomp reads its settings when it is loaded, so they stand in the environment, where processes that are
started here find them too. What the user has set stays. Results depend on the number of threads, in the last bits, and
not on how they wait.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SPINS = 3000
"""Rounds that a thread spins before it sleeps; libgomp's own are 300,000 where there are no more threads than cores."""

_CPUS, _CGROUPS, _OWN_CGROUPS = Path("/sys/devices/system/cpu"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def settle() -> None:
    """Set the environment for libraries that are yet to be imported."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    if not {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} & os.environ.keys():
        beside = os.environ.get("LOCAL_WORLD_SIZE", "1")  # processes of a launcher on this machine
        share = int(beside) if beside.isdecimal() else 1
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores() // max(1, share)))


def number() -> int:
    """How many threads compute in this process."""
    if torch := sys.modules.get("torch"):
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(given) if given.isdecimal() and int(given) > 0 else cores()


@contextmanager
def using(threads: int) -> Iterator[None]:
    """Compute with so many threads inside, whether torch is loaded already or not."""
    before, asked = number(), os.environ.get("OMP_NUM_THREADS")
    if threads == before:
        yield
        return
    _use(threads, str(threads))
    try:
        yield
    finally:
        _use(before, asked)


def _use(threads: int, asked: str | None) -> None:
    if asked is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = asked
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def cores() -> int:
    """Physical cores that this process may use: those of its affinity, or fewer where its container is limited."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    limit = _container_limit()
    found = _physical(allowed)
    return found if limit is None else max(1, min(found, int(limit)))


def _physical(cpus: Sequence[int]) -> int:
    """Two hardware threads of one core count once; all of them where the system does not say."""
    try:
        return len({(_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in cpus})
    except OSError:
        return len(cpus)


def _container_limit() -> float | None:
    """The least processor time that a cgroup of this process allows, in cores: v2's `cpu.max`, v1's quota by period."""
    limits = []
    for folder in _cgroup_folders():
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            try:
                quota = (folder / "cpu.cfs_quota_us").read_text().strip()
                period = (folder / "cpu.cfs_period_us").read_text().strip()
            except OSError:
                continue
        if quota.isdecimal() and period.isdecimal() and int(period):  # "max" and -1 are no limit
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _cgroup_folders() -> Iterator[Path]:
    """The folders of this process's cgroups and of those around them; in a container, its own is the root."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in [_CGROUPS / controllers, _CGROUPS / "cpu"] if controllers else [_CGROUPS]:
            own = root / path.lstrip("/")
            yield from (each for each in (own, *own.parents) if each == root or root in each.parents)
