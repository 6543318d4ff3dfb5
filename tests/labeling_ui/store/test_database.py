"""Opening, upgrading, copying and losing the database: one clear message, and nothing lost."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from foundation.errors import UserError
from foundation.files import content_id
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Message, Prompt, Task
from labeling_ui.store import database, tables
from labeling_ui.store.store import Store
from tests.labeling_ui.conftest import Postgres
from tests.labeling_ui.filling import TIE, Clock, fill, prefer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.db"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


def run(url: str, *statements: str) -> list[Any]:
    """Rows of the last statement, by a connection of its own."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        *_, result = [connection.exec_driver_sql(statement) for statement in statements]
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


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


# --- upgrading ---

MESSAGES = (Message(role="user", content="hello"),)
PROMPT = Prompt(MESSAGES)
CANDIDATES = [Candidate(PROMPT.id, text) for text in ("one", "two", "three")]
A, B, C = sorted(candidate.id for candidate in CANDIDATES)
OLD_TASKS = {"t1": (A, B), "t2": (B, C), "t3": (A, C)}
ROBOT = content_id("annotator", "robot")


def old_store(url: str) -> None:
    """A store of version 0001 with judgements and a lease in it."""
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        rows: dict[str, list[dict[str, Any]]] = {
            "prompts": [{"id": PROMPT.id, "messages": [dict(MESSAGES[0])], "references": []}],
            "candidates": [
                {"id": c.id, "prompt_id": c.prompt_id, "response": c.response, "source": {}} for c in CANDIDATES
            ],
            "annotators": [
                {"id": content_id("annotator", "ann"), "name": "ann", "simulated": False},
                {"id": ROBOT, "name": "robot", "simulated": True},
            ],
            "tasks": [
                {"id": key, "prompt_id": PROMPT.id, "a": a, "b": b, "overlap": 2} for key, (a, b) in OLD_TASKS.items()
            ],
            "leases": [{"task_id": "t2", "annotator_id": ROBOT, "left": C, "leased_until": 1_000_300.0}],
            "judgements": [
                {
                    "number": number, "task_id": task_id, "annotator_id": who, "verdict": verdict, "left": left,
                    "winner": winner, "strength": strength, "seconds": 1.5, "created_at": "2025-01-01",
                    "key": f"k{number}",
                }
                for number, task_id, who, verdict, left, winner, strength in (
                    (1, "t1", content_id("annotator", "ann"), "right", B, A, 2),
                    (2, "t1", ROBOT, "left", A, A, None),
                    (5, "t3", content_id("annotator", "ann"), "both_bad", A, None, None),
                )
            ],
        }  # fmt: skip
        json = {"messages", "references", "source"}
        for table, records in rows.items():
            columns = [sa.column(name, sa.JSON) if name in json else sa.column(name) for name in records[0]]
            connection.execute(sa.insert(sa.table(table, *columns)), records)
    engine.dispose()


def check_upgraded(store: Store) -> None:
    ann, robot = store.annotators()
    assert (ann.name, robot.name, robot.id, robot.simulated) == ("ann", "robot", ROBOT, True)
    assert ann.id != content_id("annotator", "ann"), "a person's id says nothing of the name"
    expected = {old: Task(PROMPT.id, pair) for old, pair in OLD_TASKS.items()}
    assert store.tasks() == sorted(expected.values(), key=lambda task: task.id)
    assert store.add_tasks(expected.values()) == 0, "collecting the same pairs again adds nothing"
    first, second, third = store.judgements()
    assert (first.task_id, first.annotator_id, first.key, first.side) == (expected["t1"].id, ann.id, "k1", "right")
    assert (first.answer, first.shown) == (Answer("preferred", A, 2), (B, A))
    assert (second.annotator_id, second.answer, second.shown) == (robot.id, Answer("preferred", A), (A, B))
    assert (third.task_id, third.answer, third.seconds) == (expected["t3"].id, Answer("both_bad"), 1.5)
    shown = store.next_assignment(robot.id)
    assert shown is not None
    assert (shown.task, [one.id for one in shown.shown]) == (expected["t2"], [C, B]), "the lease is still there"
    assert store.record(prefer(shown, key="new")) == "taken"
    assert store.waiting() == 2
    assert store.verify() == []


def test_a_store_of_the_first_version_is_carried_over(store_url: str) -> None:
    old_store(store_url)
    store = Store(store_url, Clock())
    check_upgraded(store)
    store.close()


def test_a_copy_is_made_before_an_upgrade(path: Path) -> None:
    old_store(f"sqlite:///{path}")
    Store(path).close()
    copy = path.with_name("labels.db.backup-0001")
    assert sorted(file.name for file in path.parent.iterdir()) == ["labels.db", "labels.db.backup-0001"]
    assert run(f"sqlite:///{copy}", "SELECT version_num FROM alembic_version") == [("0001",)]
    assert run(f"sqlite:///{copy}", "SELECT count(*) FROM judgements") == [(3,)]
    assert copy.stat().st_mode & 0o077 == 0, "it holds names"
    store = Store(copy, Clock())
    check_upgraded(store)
    store.close()


def test_without_room_for_the_copy_nothing_is_upgraded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    old_store(f"sqlite:///{path}")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(UserError, match=r"No space left.*Nothing was changed"):
            Store(path)
    assert run(f"sqlite:///{path}", "SELECT version_num FROM alembic_version") == [("0001",)]
    assert not list(path.parent.glob("*backup*")), "a copy is whole or not there"
    store = Store(path, Clock())
    check_upgraded(store)
    store.close()


def test_an_upgrade_that_fails_leaves_the_old_store_as_it_was(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the power went")

    old_store(store_url)
    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.bulk_insert", breaks)  # the old tables are dropped by then
        with pytest.raises(RuntimeError, match="the power went"):
            Store(store_url)
    assert run(store_url, "SELECT version_num FROM alembic_version") == [("0001",)]
    assert run(store_url, "SELECT count(*) FROM judgements") == [(3,)]
    store = Store(store_url, Clock())
    check_upgraded(store)
    store.close()


KILLED_WHILE_UPGRADING = """
import os, signal, sys
from alembic import op
from labeling_ui.store.store import Store
insert, calls = op.bulk_insert, []
def killed(*arguments, **options):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return insert(*arguments, **options)
op.bulk_insert = killed
Store(sys.argv[1])
"""


def test_an_upgrade_that_is_killed_is_made_anew(store_url: str) -> None:
    old_store(store_url)
    assert subprocess.run([sys.executable, "-c", KILLED_WHILE_UPGRADING, store_url]).returncode == -9
    assert run(store_url, "SELECT count(*) FROM judgements") == [(3,)]
    store = Store(store_url, Clock())
    check_upgraded(store)
    store.close()


def test_a_new_store_whose_making_failed_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", breaks)
        with pytest.raises(RuntimeError, match="the power went"):
            Store(path)
    assert run(f"sqlite:///{path}", "SELECT name FROM sqlite_master") == []
    Store(path).close()


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


# --- copies and checks ---


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


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE tasks SET taken = taken + 1", "places as taken"),
        ("DELETE FROM judgements", "is not what was last said"),
        ("UPDATE events SET action = 'undo' WHERE number = 1", "is not what was last said"),
        (
            "INSERT INTO leases (task_id, annotator_id, shown, leased_until, lasts, granted)"
            " SELECT task_id, annotator_id, '[]', 0, 1, 1 FROM judgements",
            "who has judged it",
        ),
    ],
)
def test_what_could_never_be_is_found(store: Store, store_url: str, statement: str, told: str) -> None:
    fill(store, 2)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    store.record(prefer(shown))
    assert store.verify() == []
    run(store_url, statement)
    assert any(told in line for line in store.verify())


def test_a_damaged_file_and_a_missing_parent_are_found(path: Path) -> None:
    store = Store(path)
    fill(store, 2, campaign=Campaign())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM prompts")
        connection.commit()
    assert any("refers to a row of prompts" in line for line in store.verify())
    store.close()
