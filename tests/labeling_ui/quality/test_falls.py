"""Agreement that falls is noticed, and chance is not, however often it is looked at."""

import random

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Annotator, Answer, Judgement, Task
from labeling_ui.quality.falls import FIRST_LOOK, GROWTH, fall, look_at
from labeling_ui.quality.label_reader import Labels

ANN, BOB = Annotator("ann", "ann"), Annotator("bob", "bob")


def judged(agreeing: list[bool], seed: int = 0) -> Labels:
    """One task each, which both annotators judge alike or otherwise."""
    draw = random.Random(seed)
    tasks = [Task(f"p{n}", (f"{n}a", f"{n}b"), id=f"{n:05}") for n in range(len(agreeing))]
    judgements = []
    for task, alike in zip(tasks, agreeing, strict=True):
        first = draw.randrange(2)
        for who, place in ((ANN, first), (BOB, first if alike else 1 - first)):
            answer = Answer("preferred", task.candidates[place])
            judgements.append(Judgement(task.id, who.id, task.candidates, answer, key=task.id + who.id))
    return Labels({"main": Campaign()}, {task.id: task for task in tasks}, [ANN, BOB], judgements)


def drawn(share: float, number: int, draw: random.Random) -> list[bool]:
    return [draw.random() < share for _ in range(number)]


def test_a_look_comes_with_a_quarter_more_tasks() -> None:
    looks = [look_at(number) for number in range(300)]
    assert looks[FIRST_LOOK - 1 : FIRST_LOOK + 1] == [0, 1]
    assert [look_at(round(FIRST_LOOK * GROWTH**n + 1)) for n in range(5)] == [1, 2, 3, 4, 5]
    assert sorted(looks) == looks


def test_where_nothing_changes_hardly_ever_a_fall_is_told_of_over_all_looks() -> None:
    alarms = 0
    for seed in range(30):
        agreeing = drawn(0.8, 200, random.Random(seed))
        alarms += any(fall(judged(agreeing[:size], seed)) for size in (60, 75, 94, 118, 147, 184))
    assert alarms <= 3, "a chance of 5% at most, over all looks"


def test_a_fall_is_told_of_soon() -> None:
    draw = random.Random(0)
    agreeing = drawn(0.95, 100, draw) + drawn(0.5, 60, draw)
    assert fall(judged(agreeing[:100])) is None
    found = fall(judged(agreeing))
    assert found is not None
    assert found.recent.alpha is not None
    assert found.before.alpha is not None
    assert found.recent.alpha < 0.4 < 0.8 < found.before.alpha
    assert "on the 37 newest tasks that several people judged, and was 0." in found.text


def test_agreement_that_rises_is_no_fall() -> None:
    draw = random.Random(0)
    assert fall(judged(drawn(0.5, 100, draw) + drawn(0.95, 60, draw))) is None


def test_without_shared_tasks_there_is_nothing_to_fall() -> None:
    labels = judged([True] * 200)
    alone = [each for each in labels.judgements if each.annotator_id == "ann"]
    assert fall(Labels(labels.campaigns, labels.tasks, labels.annotators, alone)) is None
    assert fall(Labels(labels.campaigns, labels.tasks, labels.annotators, [])) is None
