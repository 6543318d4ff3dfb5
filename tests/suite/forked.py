"""Processes that may be killed, forked from one that has loaded the libraries: loading them anew takes five seconds.

The process that they are forked from runs no tensor operation and opens no database. A test of what loading does, or of
a launcher, starts a process of its own.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

LOADED = [
    "peft", "pytest", "pipeline.cli.commands", "pipeline.evaluation.judges", "pipeline.exporting.adapter",
    "pipeline.tuning", "pipeline.verdict.deciding", "reward_model.training.train_ensemble", "labeling_ui.store.store",
    "labeling_ui.web.app",
]  # fmt: skip

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(LOADED)


def run(function: Callable[..., None], *arguments: Any, log: Path) -> int:
    """Call a module's function in a process of its own; what it prints goes to `log`.

    Returns its exit status, or minus the number of the signal that ended it.
    """
    return _status(_started(function, arguments, log, {}), log)


def run_two(function: Callable[..., None], *arguments: Any, logs: Sequence[Path]) -> list[int]:
    """Call a module's function in two processes that find each other as those of `torchrun` do; their exit statuses.

    The launcher is left out: it would load everything once more, and so would each process.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    common |= {"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", "ACCELERATE_USE_CPU": "true"}
    started = [
        _started(function, arguments, log, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, log in enumerate(logs)
    ]
    return [_status(process, log) for process, log in zip(started, logs, strict=True)]


def _started(
    function: Callable[..., None], arguments: tuple[Any, ...], log: Path, environment: dict[str, str]
) -> multiprocessing.process.BaseProcess:
    process = processes.Process(target=_logged, args=(log, environment, function, arguments))
    process.start()
    return process


def _status(process: multiprocessing.process.BaseProcess, log: Path) -> int:
    process.join(240)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(log.read_text())
    return process.exitcode


def _logged(log: Path, environment: dict[str, str], function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    function(*arguments)
