"""The label store: nothing lost, nothing doubled, whoever races and whatever dies."""

import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.labeling_ui import database, tables
from rlhf_pipeline.labeling_ui.assignment import answer
from rlhf_pipeline.labeling_ui.records import Candidate, Judgement, Message, Prompt, Task
from rlhf_pipeline.labeling_ui.store import Progress, Store
from tests.labeling_ui.filling import Clock, fill


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(path, clock)
    yield store
    store.close()


def test_adding_twice_adds_nothing(store: Store) -> None:
    prompt = Prompt((Message(role="user", content="hello"),), references=("hi",))
    candidates = [Candidate(prompt.id, "one", {"model": "m", "seed": 3}), Candidate(prompt.id, "two")]
    task = Task(prompt.id, candidates[0].id, candidates[1].id)
    assert (store.add_prompts([prompt]), store.add_prompts([prompt])) == (1, 0)
    assert (store.add_candidates(candidates), store.add_candidates(candidates)) == (2, 0)
    assert (store.add_tasks([task], 2), store.add_tasks([task], 2)) == (1, 0)
    assert store.prompts() == [prompt]
    assert store.candidates() == sorted(candidates, key=lambda candidate: candidate.id)
    assert store.tasks() == [task]


def test_waiting_counts_what_each_task_still_lacks(store: Store) -> None:
    fill(store, 2, overlap=2)
    people = [store.annotator(name).id for name in ("Ada", "Bo", "Cy")]
    assert store.waiting() == 4
    for person, left in ((people[0], 3), (people[1], 2)):
        shown = store.next_assignment(person)
        assert shown
        store.record(answer(shown, "tie", None, key=f"{person}-1"))
        assert store.waiting() == left
    # A vote above a task's overlap makes up for nothing that another task lacks.
    task = next(iter(store.judgements())).task_id
    for person in people:
        given = Judgement(
            task, person, "skip", left=next(t.a for t in store.tasks() if t.id == task), key=f"{person}-2"
        )
        store.record_many([given])
    other = [j for j in store.judgements() if j.task_id != task]
    assert store.waiting() == 2 - len(other)


def test_a_simulated_annotator_never_passes_for_a_person(store: Store) -> None:
    robot = store.annotator("robot", simulated=True)
    assert store.annotator("  robot ", simulated=True) == robot
    with pytest.raises(UserError, match="simulated annotator"):
        store.annotator("robot")
    store.annotator("ann")
    with pytest.raises(UserError, match="a person"):
        store.annotator("ann", simulated=True)
    with pytest.raises(UserError, match="1 to 100 characters"):
        store.annotator("   ")


def test_what_was_answered_comes_back_as_it_was_given(store: Store) -> None:
    fill(store, 1)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    assert {shown.left.response, shown.right.response} == {"a good answer", "a bad answer"}
    given = answer(shown, "right", strength=3, seconds=4.25, key="k1")
    assert store.record(given)
    (kept,) = store.judgements()
    assert replace(kept, created_at="") == given
    assert kept.created_at
    assert kept.winner == shown.right.id
    assert kept.left == shown.left.id
    assert store.next_assignment(ann.id) is None
    assert store.progress(ann.id) == Progress(done=1, total=1)


def test_the_same_answer_twice_is_one_judgement(store: Store) -> None:
    fill(store, 2)
    ann = store.annotator("ann")
    first = store.next_assignment(ann.id)
    assert first is not None
    assert store.record(answer(first, "left", key="k1"))
    before = store.label_set_hash()
    assert not store.record(answer(first, "left", key="k1"))
    assert not store.record(answer(first, "right", key="k2")), "a task is answered once by each annotator"
    assert store.label_set_hash() == before
    second = store.next_assignment(ann.id)
    assert second is not None
    with pytest.raises(UserError, match="used for another judgement"):
        store.record(answer(second, "left", key="k1"))
    assert store.counts().judgements == 1


def test_a_reload_goes_on_with_the_same_pair_also_after_a_restart(store: Store, path: Path, clock: Clock) -> None:
    fill(store, 20, overlap=2)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    assert store.next_assignment(ann.id) == shown
    store.close()
    again = Store(path, clock)
    assert again.next_assignment(ann.id) == shown
    clock.now += 3600
    task = shown.task
    again.record(Judgement(task.id, bob.id, "left", left=task.a, winner=task.a))
    assert again.next_assignment(ann.id) == shown, "a lapsed lease is taken up again while the task has room"
    again.close()


def test_an_expired_lease_is_offered_to_another_annotator(store: Store, clock: Clock) -> None:
    fill(store, 1)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    anns = store.next_assignment(ann.id, lease_seconds=60)
    assert anns is not None
    assert store.next_assignment(bob.id) is None
    clock.now += 61
    bobs = store.next_assignment(bob.id, lease_seconds=60)
    assert bobs is not None
    assert bobs.task == anns.task
    assert store.next_assignment(ann.id) is None
    assert store.record(answer(anns, "left")), "a late answer is work that somebody did"


def test_a_judgement_must_be_possible(store: Store) -> None:
    (task,) = fill(store, 1)
    ann = store.annotator("ann")
    good = Judgement(task.id, ann.id, "left", left=task.a, winner=task.a, strength=2, seconds=1.0)
    impossible: list[tuple[dict[str, Any], str]] = [
        ({"task_id": "nowhere"}, "no task"),
        ({"annotator_id": "nobody"}, "no annotator"),
        ({"verdict": "up"}, "expected one of left"),
        ({"left": "elsewhere"}, "not one of its two candidates"),
        ({"winner": task.b}, "its winner must be"),
        ({"winner": None, "strength": None}, "its winner must be"),
        ({"verdict": "tie"}, "its winner must be None"),
        ({"verdict": "tie", "winner": None}, "only a winner"),
        ({"strength": 0}, "1, 2 or 3"),
        ({"strength": 4}, "1, 2 or 3"),
        ({"strength": True}, "1, 2 or 3"),
        ({"seconds": -1.0}, "from 0 on"),
        ({"seconds": float("nan")}, "from 0 on"),
    ]
    for changes, message in impossible:
        with pytest.raises(UserError, match=message):
            store.record(replace(good, **changes))
    with pytest.raises(UserError, match="no task"):
        store.record_many([good, replace(good, task_id="nowhere")])
    assert store.counts().judgements == 0, "one impossible judgement keeps the whole step out"
    assert store.record(good)


def test_sides_cannot_be_swapped_after_they_were_shown(store: Store) -> None:
    fill(store, 1)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    with pytest.raises(UserError, match="the other way round"):
        store.record(answer(replace(shown, left=shown.right, right=shown.left), "left"))


def test_what_refers_to_nothing_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match="needs its prompt"):
        store.add_candidates([Candidate("no such prompt", "hello")])
    with pytest.raises(UserError, match="overlap is 0"):
        store.add_tasks([], overlap=0)
    with pytest.raises(UserError, match="no annotator"):
        store.next_assignment("nobody")
    (task,) = fill(store, 1)
    with pytest.raises(UserError, match="two different candidates"):
        store.add_tasks([Task(task.prompt_id, task.a, task.a)])


def test_eight_threads_lose_and_double_nothing(store: Store) -> None:
    overlap, pairs, threads = 3, 25, 8
    fill(store, pairs, overlap)
    ids = [store.annotator(f"annotator {number}").id for number in range(threads)]
    together = threading.Barrier(threads)

    def label(annotator_id: str) -> int:
        together.wait()
        taken = 0
        while shown := store.next_assignment(annotator_id):
            assert store.record(answer(shown, "left"))
            taken += 1
        return taken

    with ThreadPoolExecutor(threads) as pool:
        acknowledged = sum(pool.map(label, ids))
    judgements = list(store.judgements())
    assert acknowledged == len(judgements) == overlap * pairs
    assert set(Counter(judgement.task_id for judgement in judgements).values()) == {overlap}
    assert len({(judgement.task_id, judgement.annotator_id) for judgement in judgements}) == len(judgements)


def test_one_answer_sent_by_eight_threads_is_taken_once(store: Store) -> None:
    fill(store, 1, overlap=8)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    together = threading.Barrier(8)

    def send(number: int) -> bool:
        together.wait()
        return store.record(answer(shown, "left", key=f"k{number % 2}"))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, range(8))) == 1


def test_many_may_open_a_new_store_at_once(path: Path) -> None:
    together = threading.Barrier(8)

    def open_one(number: int) -> str:
        together.wait()
        store = Store(path)
        name = store.annotator(f"annotator {number}").name
        store.close()
        return name

    with ThreadPoolExecutor(8) as pool:
        names = sorted(pool.map(open_one, range(8)))
    store = Store(path)
    assert [annotator.name for annotator in store.annotators()] == names
    store.close()


LABEL_UNTIL_KILLED = """
import sys
from rlhf_pipeline.labeling_ui.assignment import answer
from rlhf_pipeline.labeling_ui.store import Store
store = Store(sys.argv[1])
ann = store.annotator("ann")
while shown := store.next_assignment(ann.id):
    store.record(answer(shown, "left", key="key-" + shown.task.id))
    print(shown.task.id, flush=True)
"""


def test_acknowledged_labels_survive_kill_9(path: Path) -> None:
    store = Store(path)
    fill(store, 3000)
    store.close()
    process = subprocess.Popen([sys.executable, "-c", LABEL_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().split()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL

    store = Store(path)
    kept = [judgement.task_id for judgement in store.judgements()]
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) <= len(acknowledged) + 1, "at most the one that was in flight"
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    assert shown.task.id not in kept
    assert store.record(answer(shown, "left"))
    store.close()


def test_a_full_disk_is_one_clear_message_and_loses_nothing(store: Store) -> None:
    fill(store, 3)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    store.record(answer(shown, "left"))
    before = store.label_set_hash()
    engine = store._database._engine

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
    assert fill(store, 2000)


def test_a_database_that_stays_locked_is_one_clear_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_MILLISECONDS", 50)
    store = Store(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match="locked"):
        store.annotator("ann")
    assert store.annotators() == [], "readers need not wait for a writer"
    other.execute("ROLLBACK")
    other.close()
    assert store.annotator("ann").name == "ann"
    store.close()


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(UserError, match=r"version 9999.*Upgrade rlhf-pipeline"):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    connection.close()


def test_files_that_are_no_label_store_are_refused(tmp_path: Path) -> None:
    junk = tmp_path / "junk.db"
    junk.write_text("not a database, " * 100)
    with pytest.raises(UserError, match="not a database"):
        Store(junk)
    assert junk.read_text().startswith("not a database")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE prompts (id)")
    connection.close()
    with pytest.raises(UserError, match="not a label store"):
        Store(other)
    with pytest.raises(UserError, match="cannot open the label store"):
        Store("nosuchdatabase://here/labels")


def test_a_migration_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.op.create_index", breaks)
        with pytest.raises(RuntimeError, match="the power went"):
            Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    Store(path).close()


def test_the_migrations_make_the_tables_that_the_store_uses(path: Path) -> None:
    Store(path).close()
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()


def test_labels_are_synced_to_the_disk(store: Store) -> None:
    with store._database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_the_label_set_hash_depends_on_what_was_said_and_not_on_when(tmp_path: Path) -> None:
    stores = [Store(tmp_path / f"{name}.db") for name in "abc"]
    hashes: list[list[str]] = []
    for number, store in enumerate(stores):
        tasks = fill(store, 3)
        ann = store.annotator("ann")
        given = [Judgement(task.id, ann.id, "left", left=task.a, winner=task.a) for task in tasks]
        if number == 1:
            given.reverse()
        if number == 2:
            given[2] = replace(given[2], strength=1)
        hashes.append([store.label_set_hash()])
        for judgement in given:
            store.record(replace(judgement, seconds=float(number)))
            hashes[-1].append(store.label_set_hash())
        store.close()
    assert hashes[0][-1] == hashes[1][-1]
    assert hashes[0][-1] != hashes[2][-1]
    assert all(len(set(seen)) == 4 for seen in hashes), "every judgement changes it"


def test_counts_keep_the_simulated_apart(store: Store) -> None:
    fill(store, 2, overlap=2)
    ann, robot = store.annotator("ann"), store.annotator("robot", simulated=True)
    for annotator, verdict in ((ann, "tie"), (robot, "left"), (robot, "skip")):
        shown = store.next_assignment(annotator.id)
        assert shown is not None
        store.record(answer(shown, verdict))  # type: ignore[arg-type]
    counts = store.counts()
    assert (counts.prompts, counts.candidates, counts.tasks) == (2, 4, 2)
    assert (counts.judgements, counts.simulated_judgements) == (3, 2)
    assert (counts.annotators, counts.simulated_annotators) == (2, 1)
    assert counts.by_verdict == {"left": 1, "right": 0, "tie": 1, "both_bad": 0, "skip": 1}
    assert store.progress(ann.id) == Progress(done=1, total=2)
