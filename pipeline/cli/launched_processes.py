"""The processes that `accelerate launch` or `torchrun` starts for one command: they meet, stop and end together.

What goes wrong in one of them is told once, and briefly on every other machine; the others, which may be waiting for it
at that moment, end with the same exit status. On Linux a process whose launcher was killed ends as well. A launcher
knows the processes of its own machine only: here, each process hears whether the next one is there. How work is shared
among processes is the policy stage's; starting them is the launcher's.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import typer

from foundation.errors import UserError

_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_REMEDY = (
    "Start several processes with `accelerate launch` or `torchrun`, which set all that is needed; for one process, "
    f"unset {', '.join(_VARIABLES[:3])}."
)
# Seconds to wait for the other processes. A launcher has started them already, and ends all where one has failed.
_MEETING, _MEETING_BY_LAUNCHER, _LEAVING = 30.0, 600.0, 5.0
# Seconds between two beats; without one for how long a process is gone, and after an error, which its end explains; how
# long a new file may take to be seen on another machine, whose file system may remember a folder for a minute.
_BEAT, _GONE, _GONE_AFTER_ERROR, _SEEING = 0.2, 60.0, 2.0, 90.0
_ARRIVED, _GIVEN, _SPEAKER, _STATUS, _LEFT = "rlhf/arrived", "rlhf/given", "rlhf/speaker", "rlhf/status", "rlhf/left"
_BEATS, _ENDED, _MARK, _SEES, _SEEN = "rlhf/beats", "rlhf/ended", "rlhf/mark", "rlhf/sees", "rlhf/seen"
Tell = Callable[[BaseException], int | None]
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SIG_IGN = ctypes.c_void_p(1)  # signal.h


@contextmanager
def together(tell: Tell) -> Iterator[None]:
    """Run a command that other processes may run as well, and end it with the same exit status in all of them.

    `tell` says on standard error what an exception means and returns the exit status, or None for a bug.
    """
    others = None
    try:
        others = launched()
        if others:
            others.tell = tell
        yield
        if others:
            others.end()
    except typer.Exit:
        raise
    except BaseException as error:
        if others:
            others.stop(error)
        if isinstance(error, KeyboardInterrupt) and os.environ.get("RANK", "0") != "0":
            raise typer.Exit(130) from None  # before they have met: the first one tells
        status = tell(error)
        if status is None:
            raise
        raise typer.Exit(status) from None


@cache
def launched() -> "Launched | None":
    """The processes of this command, once they have met; None if there is no launcher."""
    size = count()
    if "RANK" not in os.environ:
        return None
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _end_with_launcher()
    signal.signal(signal.SIGINT, _interrupt_once)
    return Launched(int(os.environ["RANK"]), size)


def count() -> int:
    """How many processes there are, by the environment; `UserError` where that was not set by a launcher."""
    given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
        if not given.get(name, "0").isdecimal():
            raise UserError(f"{name}={given[name]} in the environment is not a number. {_REMEDY}")
    rank, size = int(given.get("RANK", 0)), int(given.get("WORLD_SIZE", 1))
    if size == 1 and not {"RANK", "LOCAL_RANK"} & given.keys():
        return 1
    missing = [name for name in _VARIABLES if name not in given]
    if missing:
        there = ", ".join(f"{name}={value}" for name, value in given.items())
        raise UserError(f"the environment has {there}, but no {', '.join(missing)}. {_REMEDY}")
    if rank >= size:
        raise UserError(f"RANK={rank} in the environment is not below WORLD_SIZE={size}. {_REMEDY}")
    return size


class Launched:
    """This process (`rank`) among all `size` of them. They write to a store that the launcher, or the first, keeps."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.tell: Tell = lambda error: None
        self._store = _store(rank, size)
        self._over = threading.Event()
        self._store.add(_ARRIVED, 1)
        if not self._wait(lambda: self._store.add(_ARRIVED, 0) >= size, _patience()):
            raise UserError(
                f"of {size} processes {self._store.add(_ARRIVED, 0)} came within {_patience():.0f} s. {_REMEDY}"
            )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def compare(self, given: Mapping[str, Any]) -> None:
        """Refuse, in every process, what differs among them in what they were given: field by field."""
        self._store.set(f"{_GIVEN}/{self.rank}", json.dumps(given))
        keys = [f"{_GIVEN}/{rank}" for rank in range(self.size)]
        self._wait(lambda: self._store.check(keys), _MEETING_BY_LAUNCHER)
        first, *rest = (json.loads(self._store.get(key)) for key in keys)
        for rank, other in enumerate(rest, start=1):
            differing = [name for name in {**first, **other} if first.get(name) != other.get(name)]
            if differing:
                shown = "; ".join(f"{name} is {first.get(name)} and {other.get(name)}" for name in differing[:3])
                more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
                raise UserError(
                    f"the processes 0 and {rank} were given different settings: {shown}{more}. Give all processes the "
                    "same options, files and RLHF_ variables."
                )

    def check_shared(self, folder: Path) -> None:
        """Refuse, in every process, a folder in which one does not see the files of the first: on another machine."""
        if self.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            mark = folder / f".processes-{uuid.uuid4().hex}"
            mark.touch()
            self._store.set(_MARK, mark.name)
        self._wait(lambda: self._store.check([_MARK]), _MEETING_BY_LAUNCHER)
        name = self._store.get(_MARK).decode()
        # Listed, for a file system that asks for a name may remember that it was not there.
        sees = self._wait(lambda: folder.is_dir() and name in os.listdir(folder), _SEEING)
        self._store.set(f"{_SEES}/{self.rank}", json.dumps([sees, f"{folder.resolve()} on {socket.gethostname()}"]))
        keys = [f"{_SEES}/{rank}" for rank in range(self.size)]
        if self.rank == 0:
            self._wait(lambda: self._store.check(keys), _MEETING_BY_LAUNCHER)
            mark.unlink()
            self._store.set(_SEEN, "")
        self._wait(lambda: self._store.check([_SEEN]), _MEETING_BY_LAUNCHER)
        (_, first), *rest = (json.loads(self._store.get(key)) for key in keys)
        for rank, (seen, there) in enumerate(rest, start=1):
            if not seen:
                raise UserError(
                    f"the processes 0 and {rank} work on different folders: {first}, and {there}. Put the run on a "
                    "file system that all machines share, and name its folder there by --run on each of them."
                )

    def stop(self, error: BaseException) -> NoReturn:
        """End all processes: the first that comes here tells why, and all end with its status."""
        try:
            if not isinstance(error, UserError | KeyboardInterrupt):
                error = self._who_is_gone() or error
            self._over.set()
            self._watcher.join()
            self._speak(error)
        except RuntimeError:
            self._leave_alone()

    def end(self) -> None:
        """The end of a command that went well."""
        from torch import distributed

        self._over.set()
        self._watcher.join()
        self._store.set(f"{_ENDED}/{self.rank}", "")
        if self.rank == 0:  # which may be the keeper of the store
            self._wait(lambda: self._store.check([f"{_ENDED}/{rank}" for rank in range(self.size)]), _LEAVING)
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def _watch(self) -> None:
        """End this process, whatever it is waiting for, when another one has stopped, or the next one is gone."""
        following, last, silent = (self.rank + 1) % self.size, 0, 0
        try:
            while not self._over.wait(_BEAT):
                if self._store.check([_STATUS]):
                    self._leave()
                self._store.add(f"{_BEATS}/{self.rank}", 1)
                now = self._store.add(f"{_BEATS}/{following}", 0)
                last, silent = now, silent + 1 if now == last else 0
                # Counted, not timed: all processes may have been asleep.
                if silent * _BEAT > _GONE and not self._store.check([f"{_ENDED}/{following}"]):
                    self._speak(_gone(following, self.size))
        except RuntimeError:
            self._leave_alone()

    def _who_is_gone(self) -> UserError | None:
        """Whose end may be why this process failed. A launcher that sees it ends this one."""
        ranks = [rank for rank in range(self.size) if rank != self.rank]
        before = [self._store.add(f"{_BEATS}/{rank}", 0) for rank in ranks]
        time.sleep(_GONE_AFTER_ERROR)
        for rank, beat in zip(ranks, before, strict=True):
            if self._store.add(f"{_BEATS}/{rank}", 0) == beat and not self._store.check([f"{_ENDED}/{rank}"]):
                return _gone(rank, self.size)
        return None

    def _speak(self, error: BaseException) -> NoReturn:
        """Tell why all processes end, if no other does, and end."""
        if self._store.add(_SPEAKER, 1) == 1:
            status = self.tell(error)
            if status is None:
                sys.excepthook(type(error), error, error.__traceback__)
            said = {"status": 1 if status is None else status, "rank": self.rank, "host": socket.gethostname()}
            self._store.set(_STATUS, json.dumps({**said, "machine": os.environ.get("GROUP_RANK")}))
        self._wait(lambda: self._store.check([_STATUS]), _LEAVING)
        self._leave()

    def _leave(self) -> NoReturn:
        """End when the others do, and as they do: a launcher ends those that are a moment behind."""
        said = json.loads(self._store.get(_STATUS))
        if sys.platform != "win32":  # by libc, for Python lets the main thread alone do it
            ctypes.CDLL(None).signal(signal.SIGTERM, _SIG_IGN)
        if said["machine"] != os.environ.get("GROUP_RANK") and os.environ.get("LOCAL_RANK") == "0":
            stopped = UserError(f"process {said['rank']} of {self.size} has stopped; {said['host']} shows why.")
            self.tell(KeyboardInterrupt() if said["status"] == 130 else stopped)
        with suppress(RuntimeError):  # the keeper of the store has left
            self._store.add(_LEFT, 1)
            self._wait(lambda: self._store.add(_LEFT, 0) >= self.size, _LEAVING)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(said["status"])

    def _leave_alone(self) -> NoReturn:
        """End because the store has gone, and its keeper with it: the launcher of the first machine, or process 0."""
        time.sleep(1)  # if it was the launcher of this process, the kernel ends it
        if os.environ.get("LOCAL_RANK") == "0":
            self.tell(UserError("the first process or its launcher is gone. The same command goes on from there."))
        os._exit(1)

    def _wait(self, ready: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


def _store(rank: int, size: int) -> Any:
    """What torch's processes find one another by, also before there is a process group."""
    from torch.distributed.rendezvous import rendezvous

    found: list[Any] = []

    def meet() -> None:
        try:
            found.append(next(rendezvous("env://", rank, size, timeout=timedelta(seconds=2 * _patience())))[0])
        except (RuntimeError, ValueError) as error:  # nobody can be met at this address
            found.append(error)

    # In a thread, for torch waits without end where something else answers, and then Ctrl-C would not get through.
    thread = threading.Thread(target=meet, daemon=True)
    thread.start()
    thread.join(_patience())
    if not found or isinstance(found[0], Exception):
        why = str(found[0]).splitlines()[0].rstrip(".") if found else f"they did not answer within {_patience():.0f} s"
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(f"process {rank} of {size} did not meet the others at {where}: {why}. {_REMEDY}")
    return found[0]


def _gone(rank: int, size: int) -> UserError:
    return UserError(
        f"process {rank} of {size} is gone: it was killed, or its machine has no memory or no network left. What was "
        "finished is kept; the same command goes on from there."
    )


def _patience() -> float:
    return _MEETING_BY_LAUNCHER if "TORCHELASTIC_RUN_ID" in os.environ else _MEETING


def _end_with_launcher() -> None:
    """Have the kernel end this process when its launcher has ended, which a killed one cannot do itself."""
    if sys.platform == "linux":
        launcher = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(1)


def _interrupt_once(number: int, frame: Any) -> None:
    """Ctrl-C reaches a process from the terminal, and again from its launcher."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
