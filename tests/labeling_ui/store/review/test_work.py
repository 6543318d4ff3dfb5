"""What people are paid by: every answer, all time, and how often known answers were given."""

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, fill


def test_time_counts_also_where_an_answer_was_changed_or_taken_back(store: Store, clock: Clock) -> None:
    fill(store, 4, 2)
    review, ann = TaskReview(store.database, clock), store.annotator("ann").id
    for number in range(3):
        given = store.next_assignment(ann)
        assert given is not None
        answer = Answer("skip", reason="?") if number == 1 else Answer("tie")
        store.record(given.judgement(answer, None if number == 0 else 1800.0))
    store.undo(ann, "back")
    assert given is not None
    store.record(given.judgement(Answer("both_bad"), 600.0))
    store.record(given.judgement(Answer("tie"), 600.0, "edited", "edit"))
    review.change([given.task.id], "remove", ann)
    store.annotator("idle")
    (work,) = review.work()
    assert (work.name, work.answers, work.skips, work.withdrawn, work.untimed) == ("ann", 3, 1, 1, 1)
    assert work.hours == pytest.approx(4800 / 3600)
    assert work.rate == pytest.approx(3 / (4800 / 3600))
    assert (work.gold, work.gold_right) == (0, None)
    assert review.work(since="1970-01-13") == []
    assert review.work(until="1970-01-13") == [work]


def test_known_answers_count_right_and_wrong(store: Store, clock: Clock) -> None:
    tasks = fill(store, 4, gold=2, campaign=Campaign(repeat_share=0, gold_share=0.5, random_share=0))
    ann = store.annotator("ann").id
    for number, task in enumerate(tasks[:2]):
        assert task.gold is not None
        wrong = next(one for one in task.candidates if one != task.gold.winner)
        answer = Answer("preferred", task.gold.winner if number == 0 else wrong)
        store.record(Judgement(task.id, ann, task.candidates, answer, 1.0))
    (work,) = TaskReview(store.database, clock).work()
    assert (work.gold, work.gold_right) == (2, 0.5)
