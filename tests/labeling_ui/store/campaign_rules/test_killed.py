"""Adaptive overlap while many work at once and are killed: nothing is lost, doubled, or left without its judges."""

import signal
import subprocess
import sys
from collections import Counter

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.store.campaign_rules.adaptive_overlap import follow_votes
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import LEASE, Clock, fill

CAMPAIGN = Campaign(overlap=1, max_overlap=4, confidence=0.9, gold_share=0.1, repeat_share=0.1)
TASKS, WORKERS = 40, 4

AGAIN = """
import hashlib, random, sys, time
from foundation.errors import UserError
from labeling_ui.data_model import Answer
from labeling_ui.store.campaign_rules.adaptive_overlap import follow_votes, set_skills
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock

def again(act, *given):
    # As the page does: SQLite does not queue writers, and one of many may wait too long.
    while True:
        time.sleep(0.03)
        try:
            return act(*given)
        except UserError as error:
            if "locked" not in str(error):
                raise

store = again(lambda: Store(sys.argv[1], Clock()))
"""

LABEL = """
who = again(store.annotator, sys.argv[2]).id
print("ready", flush=True)
sys.stdin.readline()
while shown := again(store.assignments, who, 2):
    task, sides = shown[0].task, [one.response for one in shown[0].shown]
    drawn = hashlib.sha256((who + task.id).encode()).digest()[0]
    if drawn < 20 and sys.argv[2][-1] in "01":  # two skips leave a task to annotators
        answer = Answer("skip", reason="unclear")
    else:
        answer = Answer("preferred", shown[0].shown[sides.index("a good answer" if drawn < 190 else "a bad answer")].id)
    again(store.record, shown[0].judgement(answer, key=who + task.id))
    if drawn % 7 == 0:
        again(store.undo, who, "undo" + who + task.id)
        again(store.record, shown[0].judgement(answer, key="again" + who + task.id))
    print(task.id, who, flush=True)
"""

LEARN = """
def learn(accuracies):
    with store.database.write() as connection:
        set_skills(connection, "main", accuracies)

def follow(tasks):
    (campaign,) = store.campaigns()
    with store.database.write() as connection:
        follow_votes(connection, campaign, tasks)

print("ready", flush=True)
sys.stdin.readline()
draw = random.Random(0)
while True:
    again(learn, {one.id: draw.uniform(0.6, 0.95) for one in store.annotators()})
    tasks = [task.id for task in store.tasks()]
    for at in range(0, len(tasks), 10):
        again(follow, tasks[at : at + 10])
"""


def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", AGAIN + code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> list[str]:
    """What a process acknowledged until it was killed."""
    process.send_signal(signal.SIGKILL)
    assert process.stdout is not None
    assert process.stdin is not None
    said = process.stdout.read().split("\n")
    process.stdout.close()
    process.stdin.close()
    process.wait()
    return [line for line in said if " " in line]


def test_whoever_is_killed_no_task_is_left_without_its_judges(store_url: str) -> None:
    store = Store(store_url, Clock())
    fill(store, TASKS, None, campaign=CAMPAIGN, gold=4)
    crowd = [start(LABEL, store_url, f"annotator {number}") for number in range(WORKERS)]
    crowd.append(start(LEARN, store_url))
    acknowledged = []
    for each in crowd:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in crowd:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in crowd[:-1]:  # each has done something before the first is killed
        assert each.stdout is not None
        acknowledged += [each.stdout.readline().strip() for _ in range(2)]
    for each in crowd:
        acknowledged += finish(each)
    store.close()

    clock = Clock()
    store = Store(store_url, clock)
    kept = {(each.task_id, each.annotator_id) for each in store.judgements()}
    assert {(*line.split(),) for line in acknowledged} <= kept
    said = Counter((each.task_id, each.annotator_id) for each in store.events() if each.action == "answer")
    undone = Counter((each.task_id, each.annotator_id) for each in store.events() if each.action == "undo")
    assert set((said - undone).values()) == {1}
    assert store.verify() == []

    clock.now += LEASE  # whoever was killed does not come back
    (campaign,) = store.campaigns()
    with store.database.write() as connection:
        follow_votes(connection, campaign)  # skills that came when the process that followed them was killed
    helpers = [store.annotator(f"helper {number}").id for number in range(6)]
    for helper in helpers:
        while shown := store.next_assignment(helper):
            best = next(one.id for one in shown.shown if one.response == "a good answer")
            assert store.record(shown.judgement(Answer("preferred", best))) == "taken"
    assert store.waiting() == 0
    with store.database.write() as connection:
        assert follow_votes(connection, campaign) == 0, "no task is finished in doubt, and none is asked without need"
    assert store.verify() == []
    store.close()
