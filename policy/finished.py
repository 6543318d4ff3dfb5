"""When a training is over: its adapter is written, and then its checkpoints go, in one step.

What comes after it (trackers, hashes, the final name) may be cut short. Training then is not taken up again, though no
checkpoint is left: its folder holds all that it made.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from backbone.adapter_folder import CONFIG
from foundation.files import read_rows
from policy.training_log import LOG

CHECKPOINTS = "checkpoints"
"""Where the checkpoints are in a policy's folder, from the beginning of its training to the end."""

_GONE = f".{CHECKPOINTS}.gone"


def finish(folder: Path) -> None:
    """Remove the checkpoints, once the adapter and the log are on the disk."""
    for file in (path for path in folder.iterdir() if path.is_file()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    if (folder / CHECKPOINTS).exists():
        (folder / CHECKPOINTS).rename(folder / _GONE)
    shutil.rmtree(folder / _GONE, ignore_errors=True)


def finished_log(folder: Path) -> list[dict[str, Any]] | None:
    """The log of the training that is over in `folder`, one row per step; None if it is not."""
    if (folder / CHECKPOINTS).exists() or not (folder / CONFIG).is_file():
        return None
    finish(folder)  # what a kill left of it
    return read_rows(folder / LOG)
