"""Nobody but their owner reads the files of a store; a network file system is warned of."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling_ui.people.signing_secret import secret_beside_file
from labeling_ui.store.sqlite import files
from labeling_ui.store.store import Store
from tests.labeling_ui.pages import fill_kind


@pytest.fixture
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
def test_every_file_of_a_store_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    store = Store(path)
    fill_kind(store, "pairwise")
    secret_beside_file(path)
    store.backup(tmp_path / "copy.db")
    names = {file.name for file in tmp_path.iterdir()}
    assert {"labels.db", "labels.db-wal", "labels.db-shm", "labels.db.secret", "copy.db"} <= names
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == dict.fromkeys(names, 0o600)
    store.close()


def test_files_that_others_can_read_are_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    Store(path).close()
    secret_beside_file(path)
    backup = tmp_path / "labels.db.backup-0003"
    backup.write_bytes(b"")
    for file in tmp_path.iterdir():
        file.chmod(0o664)
    Store(path).close()
    assert {stat.S_IMODE(file.stat().st_mode) for file in (path, backup, tmp_path / "labels.db.secret")} == {0o600}


MOUNTS = """/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/local\\040disk xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/srv/labels.db", "ext4"),
        ("/home/ann/labels.db", "nfs4"),
        ("/home/local disk/labels.db", "xfs"),
        ("/homes/x", "ext4"),
    ],
)
def test_the_nearest_mount_says_the_file_system(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert files.file_system(Path(file), tmp_path / "mounts") == kind
    assert files.file_system(Path(file), tmp_path / "none") == ""


def test_a_network_file_system_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Store(tmp_path / "local.db").close()
    assert not caplog.records
    monkeypatch.setattr(files, "file_system", lambda file: "nfs4")
    Store(tmp_path / "labels.db").close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "label.database" in record.getMessage()
