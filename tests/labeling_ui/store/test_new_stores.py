"""The stores that tests make are those that the migrations make."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from labeling_ui.store.store import Store
from tests.labeling_ui.conftest import Postgres
from tests.labeling_ui.store.statements import run
from tests.suite import new_stores

DESCRIPTIONS = {
    "sqlite": ["SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"],
    "postgresql": [
        "SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 3",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace "
        "ORDER BY 1, 2",
    ],
}


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes empty databases."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / f'{len(list(tmp_path.iterdir()))}.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.new_database


def _described(url: str) -> list[list[tuple[object, ...]]]:
    Store(url).close()
    whole = [*DESCRIPTIONS[sa.make_url(url).get_backend_name()], "SELECT version_num FROM alembic_version"]
    return [run(url, statement) for statement in whole]


def test_a_recorded_store_is_a_migrated_one(new_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alembic.command.upgrade", new_stores.upgrade)
    migrated = _described(new_url())
    recorded = new_stores.RecordedUpgrade()
    monkeypatch.setattr("alembic.command.upgrade", recorded)
    assert _described(new_url()) == migrated  # and recorded
    monkeypatch.setattr(new_stores, "upgrade", None)
    assert _described(new_url()) == migrated
    assert all(migrated)
