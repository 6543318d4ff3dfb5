"""The label store under many threads and processes at once, and under SIGKILL."""

import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from labeling_ui.store.store import Store
from tests.labeling_ui.filling import TIE, fill, prefer
from tests.suite.forked import processes

PROCESSES, OVERLAP, TASKS = 16, 3, 7


def race(url: str, name: str, together: Any, acknowledged: Any) -> None:
    """Take and answer tasks with everybody else, from the same moment on."""
    store = Store(url)
    person = store.annotator(name).id
    together.wait(200)
    number = 0
    while shown := store.assignments(person, 2):
        number += store.record(shown[0].judgement(TIE)) == "taken"
    store.close()
    acknowledged.put(number)


def test_sixteen_processes_never_get_the_same_last_place_of_a_task(store_url: str) -> None:
    store = Store(store_url)
    fill(store, TASKS, OVERLAP)
    together, acknowledged = processes.Barrier(PROCESSES), processes.SimpleQueue()
    racers = [
        processes.Process(target=race, args=(store_url, f"annotator {number}", together, acknowledged))
        for number in range(PROCESSES)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(200)
    assert [racer.exitcode for racer in racers] == [0] * PROCESSES
    numbers = [acknowledged.get() for _ in racers]
    judgements = list(store.judgements())
    assert sum(numbers) == len(judgements) == OVERLAP * TASKS
    assert set(Counter(judgement.task_id for judgement in judgements).values()) == {OVERLAP}
    assert store.verify() == []
    store.close()


def test_eight_threads_lose_and_double_nothing(store_url: str) -> None:
    threads = 8
    store = Store(store_url)
    fill(store, 10, OVERLAP)
    ids = [store.annotator(f"annotator {number}").id for number in range(threads)]
    together = threading.Barrier(threads)

    def label(annotator_id: str) -> int:
        together.wait()
        taken = 0
        while shown := store.next_assignment(annotator_id):
            assert store.record(prefer(shown)) == "taken"
            taken += 1
        return taken

    with ThreadPoolExecutor(threads) as pool:
        acknowledged = sum(pool.map(label, ids))
    judgements = list(store.judgements())
    assert acknowledged == len(judgements) == OVERLAP * 10
    assert set(Counter(judgement.task_id for judgement in judgements).values()) == {OVERLAP}
    assert store.verify() == []
    store.close()


def test_one_answer_sent_by_eight_threads_is_taken_once(store_url: str) -> None:
    store = Store(store_url)
    fill(store, 1, overlap=8)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    together = threading.Barrier(8)

    def send(number: int) -> str:
        together.wait()
        return store.record(prefer(shown, key=f"k{number % 2}"))

    with ThreadPoolExecutor(8) as pool:
        outcomes = Counter(pool.map(send, range(8)))
    assert outcomes == {"taken": 1, "repeated": 3, "answered": 4}
    store.close()


LABEL_UNTIL_KILLED = """
import sys
from labeling_ui.data_model import Answer
from labeling_ui.store.store import Store
store = Store(sys.argv[1])
ann = store.annotator("ann")
while shown := store.assignments(ann.id, 2):
    store.record(shown[0].judgement(Answer("tie"), key="key-" + shown[0].task.id))
    print(shown[0].task.id, flush=True)
"""


def test_acknowledged_labels_survive_kill_9(store_url: str) -> None:
    store = Store(store_url)
    fill(store, 1000)
    store.close()
    command = [sys.executable, "-c", LABEL_UNTIL_KILLED, store_url]
    # A pipe that is soon full: however late it is killed, it has not labeled everything.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pipesize=4096)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().split()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL

    store = Store(store_url)
    kept = [judgement.task_id for judgement in store.judgements()]
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) <= len(acknowledged) + 1, "at most the one that was in flight"
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    assert shown.task.id not in kept
    assert store.record(prefer(shown)) == "taken"
    assert store.verify() == []
    store.close()
