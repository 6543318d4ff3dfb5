"""A store on each kind of database, with a clock that the test moves by hand, and where a SQLite file goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock
from tests.suite import new_stores


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[Store]:
    store = Store(store_url, clock)
    yield store
    assert store.verify() == []
    store.close()


@pytest.fixture
def real_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every new store is migrated, also where another one was."""
    monkeypatch.setattr("alembic.command.upgrade", new_stores.upgrade)
