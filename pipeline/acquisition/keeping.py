"""Priorities that follow the answers: refitted beside the labeling app, in a process of its own at low priority.

What chooses is imported where it is used: it loads statistics, and every command loads this module.
"""

import os
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import sqlalchemy as sa

from foundation.errors import UserError
from foundation.files import read_json, write_json
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.label_store import location
from reward_model.labels.splits import HeldOut

_NICE = 10
_LOOK = 1.0  # seconds between two looks for new answers
_SHARE = 0.25  # of the time, at most so much is spent on refitting
_ATTEMPTS = 5  # that fail one after the other, each awaited four times as long as the one before
_PROBLEM = "priorities-problem.json"


@contextmanager
def priorities_kept(run: Run, config: Config, held_out: HeldOut) -> Iterator[None]:
    """Keep priorities up to date for as long as this lasts, if a chooser is set.

    Nothing is fitted to labels of prompts that are `held_out`.
    """
    if config.collect.chooser == "random":
        yield
        return
    from pipeline.acquisition.features import read_features

    read_features(run)  # fails before anybody is asked
    asked = (run.path, location(run, config), config.collect.chooser, config.label.name, config.seed, held_out)
    worker = get_context("spawn").Process(target=_keep, args=asked, daemon=True, name="priorities")
    worker.start()
    try:
        yield
    finally:
        worker.terminate()
        worker.join()


def _keep(path: Path, where: str | Path, name: str, campaign: str, seed: int, held_out: HeldOut) -> None:
    from pipeline.acquisition.choice import Chooser, set_priorities
    from pipeline.acquisition.features import read_features

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the server, which then ends this
    os.nice(_NICE)
    parent = os.getppid()
    features, store = read_features(Run(path)), Store(where)
    answered, failed = -1, 0
    (path / _PROBLEM).unlink(missing_ok=True)

    def keep_on() -> bool:
        return os.getppid() == parent

    while keep_on():
        began = time.monotonic()
        try:
            if (now := _answers(store)) != answered:
                set_priorities(store, Chooser.after(name, features, store, seed, held_out), campaign, keep_on)
                answered, failed = now, 0
                (path / _PROBLEM).unlink(missing_ok=True)
        except (UserError, sa.exc.OperationalError) as error:  # the store is busy, or was moved: asked again
            print(f"priorities: {error}", flush=True)
        except Exception as error:  # whatever it is, people go on answering, and later answers may mend it
            failed += 1
            _tell(path, error, failed)
            if failed == _ATTEMPTS:
                return
        time.sleep(max(_LOOK * 4**failed, (time.monotonic() - began) * (1 / _SHARE - 1)))


def _tell(path: Path, error: Exception, failed: int) -> None:
    """Say it where the app runs, and leave it for `rlhf status`."""
    traceback.print_exception(error)
    then = "it is tried again" if failed < _ATTEMPTS else "given up until `rlhf label` is started again"
    told = f"not refitted to the newest answers ({error!r}, {failed} times); {then}"
    print(f"priorities: {told}", flush=True)
    write_json(path / _PROBLEM, told)


def problem(run: Run) -> str | None:
    """Why the priorities do not follow the answers; None if they do, or no chooser is set."""
    return str(read_json(run.path / _PROBLEM)) if (run.path / _PROBLEM).is_file() else None


def _answers(store: Store) -> int:
    """The number of the newest answer, 0 if there is none."""
    with store.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(tables.events.c.number), 0))).scalar_one())
