"""An older store is upgraded whole, or stays as it was, whatever interrupts the upgrade."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from foundation.errors import UserError
from foundation.files import content_id
from labeling_ui.data_model import Answer, Candidate, Message, Prompt, Task
from labeling_ui.store import database
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, prefer
from tests.labeling_ui.store.statements import run

pytestmark = pytest.mark.usefixtures("real_migrations")

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
