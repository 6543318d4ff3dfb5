"""Opening, copying and losing the database: one clear message, and nothing lost."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from foundation.errors import UserError
from labeling_ui.data_model import Candidate
from labeling_ui.store import database, tables
from labeling_ui.store.store import Store
from tests.labeling_ui.conftest import Postgres
from tests.labeling_ui.filling import TIE, fill, prefer
from tests.labeling_ui.store.statements import run

pytestmark = pytest.mark.usefixtures("real_migrations")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


# --- opening ---


def test_many_may_open_a_new_store_at_once(store_url: str) -> None:
    together = threading.Barrier(6)

    def open_one(number: int) -> str:
        together.wait()
        store = Store(store_url)
        name = store.annotator(f"annotator {number}").name
        store.close()
        return name

    with ThreadPoolExecutor(6) as pool:
        names = sorted(pool.map(open_one, range(6)))
    store = Store(store_url)
    assert [annotator.name for annotator in store.annotators()] == names
    store.close()


def test_the_migrations_make_the_tables_that_the_store_uses(store: Store) -> None:
    with store.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_a_newer_database_is_refused_and_left_alone(store_url: str, store: Store) -> None:
    store.close()
    run(store_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UserError, match=r"version 9999.*Upgrade rlhf-pipeline"):
        Store(store_url)
    assert run(store_url, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_files_that_are_no_label_store_are_refused_and_stay_as_they_are(tmp_path: Path) -> None:
    junk, other = tmp_path / "junk.db", tmp_path / "other.db"
    junk.write_text("not a database, " * 100)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE prompts (id)")
    before = {file: file.read_bytes() for file in (junk, other)}
    with pytest.raises(UserError, match="not a database"):
        Store(junk)
    with pytest.raises(UserError, match="not a label store"):
        Store(other)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_database_of_something_else_is_refused(postgres_url: str) -> None:
    run(postgres_url, "CREATE TABLE tasks (id int)")
    with pytest.raises(UserError, match="not a label store"):
        Store(postgres_url)
    assert run(postgres_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("tasks",)]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nosuchdatabase://here/labels", "begins with postgresql://"),
        ("mysql://me:secret@here/labels", "begins with postgresql://"),
        ("postgresql://me:secret@/labels?host=/nowhere", "could not be used"),
    ],
)
def test_urls_that_lead_nowhere_are_refused_without_telling_the_password(url: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        Store(url)
    assert "secret" not in str(error.value)


def test_labels_are_synced_to_the_disk(path: Path) -> None:
    store = Store(path)
    with store.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    store.close()


# --- what can go wrong later ---


def test_a_full_disk_is_one_clear_message_and_loses_nothing(path: Path) -> None:
    store = Store(path)
    fill(store, 3)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    store.record(prefer(shown))
    before = store.label_set_hash()
    engine = store.database.engine

    def no_more_room(connection: sqlite3.Connection, _record: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    engine.dispose()
    sa.event.listen(engine, "connect", no_more_room)
    with pytest.raises(UserError, match=r"full.*Nothing of this step was saved"):
        fill(store, 2000)
    engine.dispose()
    sa.event.remove(engine, "connect", no_more_room)
    assert store.label_set_hash() == before
    assert store.counts().tasks == 3
    assert store.verify() == []
    assert fill(store, 200)
    store.close()


def test_a_database_that_stays_locked_is_one_clear_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_MILLISECONDS", 50)
    store = Store(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="locked"):
            store.annotator("ann")
        assert store.annotators() == [], "readers need not wait for a writer"
        other.execute("ROLLBACK")
    with store.database.write(), pytest.raises(UserError, match="locked"):
        store.annotator("ann")
    assert store.annotator("ann").name == "ann"
    store.close()


def restart_while_writing(store: Store, postgres: Postgres) -> None:
    with store.database.write() as connection:
        postgres.restart()
        connection.execute(sa.select(tables.tasks))


def test_a_lost_connection_is_one_clear_message_and_the_answer_can_be_sent_again(
    postgres: Postgres, postgres_url: str
) -> None:
    store = Store(postgres_url)
    fill(store, 3)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    given = prefer(shown, key="k1")
    postgres.restart()
    assert store.record(given) == "taken", "connections that died while nobody used them are replaced"
    with pytest.raises(UserError, match="could not be used"):
        restart_while_writing(store, postgres)
    assert store.record(given) == "repeated"
    shown = store.next_assignment(ann.id)
    assert shown is not None
    lost = prefer(shown, key="k2")
    postgres.stop()
    with pytest.raises(UserError, match=r"could not be used.*Nothing of this step was saved"):
        store.record(lost)
    postgres.start()
    assert store.record(lost) == "taken"
    assert store.verify() == []
    store.close()


def test_writers_of_one_process_do_not_wait_each_with_a_connection(postgres_url: str) -> None:
    store = Store(postgres_url)
    together = threading.Barrier(6)

    def write(_number: int) -> None:
        together.wait()
        with store.database.write() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(0.05)")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert store.database.engine.pool.status().startswith("Pool size: 8  Connections in pool: 1 ")
    store.close()


def test_a_text_that_cannot_be_stored_is_one_clear_message(postgres_url: str) -> None:
    store = Store(postgres_url)
    fill(store, 1)
    with pytest.raises(UserError, match="NUL"):
        store.add_candidates([Candidate(store.prompts()[0].id, "nul \0")])
    assert len(store.candidates()) == 2
    store.close()


def test_where_the_connection_is_lost_while_saving_nobody_claims_to_know(postgres_url: str) -> None:
    store = Store(postgres_url)
    fill(store, 1)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None

    def lost(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    sa.event.listen(store.database.engine, "commit", lost)
    with pytest.raises(UserError, match="nobody knows whether it was"):
        store.record(prefer(shown, key="k1"))
    sa.event.remove(store.database.engine, "commit", lost)
    assert store.record(prefer(shown, key="k1")) == "taken"
    store.close()


# --- copies ---


def test_a_copy_of_a_store_in_use_is_a_whole_store(path: Path, tmp_path: Path) -> None:
    store = Store(path)
    fill(store, 30)
    ann = store.annotator("ann")
    copies = []
    for number in range(3):
        for _ in range(5):
            shown = store.next_assignment(ann.id)
            assert shown is not None
            store.record(shown.judgement(TIE))
        copies.append(store.backup(tmp_path / "copies" / f"{number}.db"))
    with pytest.raises(UserError, match="exists already"):
        store.backup(copies[0])
    store.close()
    for number, copy in enumerate(copies):
        copied = Store(copy)
        assert copied.counts().judgements == 5 * (number + 1)
        assert copied.verify() == []
        copied.close()


def test_postgresql_is_copied_with_its_own_tool(postgres_url: str, tmp_path: Path) -> None:
    store = Store(postgres_url)
    with pytest.raises(UserError, match="pg_dump"):
        store.backup(tmp_path / "copy.db")
    store.close()
