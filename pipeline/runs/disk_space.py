"""A full disk, in whichever library it is met, becomes one clear message."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import UserError

# What torch.save says of a failed write; it does not say why.
_TORCH_WRITE_ERRORS = ("iostream error", "inline_container", "failed writing file")


@contextmanager
def disk_errors(doing: str, folder: Path) -> Iterator[None]:
    """Turn an error that a full disk caused into a `UserError` that says what to do; other errors pass through."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not _is_disk_full(error, folder):
            raise
        raise UserError(
            f"the disk is full: {doing} stopped. Nothing finished was touched. Free some space "
            f"({_free_bytes(folder) >> 20} MiB are free in {folder}) and run the command again."
        ) from error


def _is_disk_full(error: BaseException | None, folder: Path) -> bool:
    """Whether a full disk is behind `error`."""
    nearly_full = _free_bytes(folder) < 1 << 20
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(error)
        if "No space left on device" in text or "database or disk is full" in text:  # safetensors, SQLite
            return True
        if nearly_full and any(hint in text for hint in _TORCH_WRITE_ERRORS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _free_bytes(folder: Path) -> int:
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free
