"""Which checkpoints of a training are whole: those with a mark, which is written last, when all else is on the disk.

A call that was killed while it wrote a checkpoint leaves one without a mark, which training never resumes from.
"""

import os
import shutil
from pathlib import Path

from foundation.files import sync_folder

_MARK = "whole"


def mark_whole(checkpoint: Path) -> None:
    """Sync every file of the checkpoint to the disk, then write the mark."""
    for file in (path for path in checkpoint.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    (checkpoint / _MARK).touch()
    sync_folder(checkpoint)


def last_whole_checkpoint(folder: Path, remove_partial: bool = True) -> Path | None:
    """The newest whole `checkpoint-STEP` in `folder`, or None. Those without a mark are removed if `remove_partial`."""
    whole = {}
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / _MARK).is_file():
            whole[int(checkpoint.name.removeprefix("checkpoint-"))] = checkpoint
        elif remove_partial:
            shutil.rmtree(checkpoint)
    return whole[max(whole)] if whole else None
