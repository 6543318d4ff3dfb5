"""The database file and its companions are their owner's alone, and a network file system is warned of."""

import contextlib
import logging
import os
import stat
from pathlib import Path

_COMPANIONS = ("", "-wal", "-shm", "-journal", ".secret")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OVER_A_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "beegfs", "glusterfs", "gpfs")
_MOUNTS = Path("/proc/mounts")

log = logging.getLogger(__name__)


def claim(file: Path) -> None:
    """Make the database file if there is none, and let nobody but its owner read it, its log and its secret.

    SQLite gives the log and its index the permissions of the database.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    for companion in (*(Path(f"{file}{ending}") for ending in _COMPANIONS), *file.parent.glob(f"{file.name}.backup-*")):
        with contextlib.suppress(OSError):  # it is somebody else's, or gone
            mode = companion.stat().st_mode
            if mode & _OTHERS:
                companion.chmod(stat.S_IMODE(mode) & ~_OTHERS)


def warn_of_network(file: Path) -> None:
    """Say so if the file lies on a network file system: SQLite's locks and shared log do not hold there."""
    kind = file_system(file)
    if kind in _OVER_A_NETWORK or kind.startswith(("fuse.sshfs", "fuse.gluster", "fuse.s3", "fuse.rclone")):
        log.warning(
            "the label store %s lies on a network file system (%s), where SQLite can lose or damage answers: move the "
            "run to a local disk, or keep the labels in PostgreSQL (label.database).",
            file,
            kind,
        )


def file_system(file: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system on which a file lies, as Linux lists it; empty where that is not known."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved, best, kind = file.resolve(), -1, ""
    for line in lines:
        _, folder, this_kind, *_ = line.split(" ")
        mounted = Path(folder.encode().decode("unicode_escape"))  # a space in it is written \040
        if resolved.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), this_kind
    return kind
