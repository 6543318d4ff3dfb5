"""Pausing, removing and restoring tasks: nobody is asked, nothing that was said is lost, and it is logged."""

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, fill, fill_with, outstanding, prefer


@pytest.fixture
def review(store: Store, clock: Clock) -> TaskReview:
    return TaskReview(store.database, clock)


def test_a_removed_task_is_dealt_no_more_and_its_answers_stay_in_the_store_alone(
    store: Store, review: TaskReview
) -> None:
    first, second = fill(store, 2, 2)
    root = store.annotator("root").id
    outstanding(store, store.annotator("ann").id)
    assert len(export(store, "answers")) == len(export(store, "ties")) == 2
    assert review.change([first.id], "remove", root, "names a person") == [first.id]
    assert outstanding(store, store.annotator("bob").id) == [second.id]
    assert {row["task"]["id"] for row in export(store, "answers")} == {second.id}
    assert {tuple(sorted((row["ids"]["chosen"], row["ids"]["rejected"]))) for row in export(store, "ties")} == {
        second.candidates
    }
    assert store.counts().judgements == 2
    assert len(list(store.judgements())) == 3, "kept"
    assert review.change([first.id], "restore", root) == [first.id]
    assert len(export(store, "answers")) == 3
    assert [(each.change, each.reason) for each in review.task(first.id).changes] == [
        ("remove", "names a person"),
        ("restore", ""),
    ]


def test_the_label_set_is_another_without_a_removed_task_and_the_same_with_it_again(
    store: Store, review: TaskReview
) -> None:
    first, _ = fill(store, 2)
    outstanding(store, store.annotator("ann").id)
    root, before = store.annotator("root").id, store.label_set_hash()
    review.change([first.id], "remove", root)
    assert store.label_set_hash() != before
    review.change([first.id], "restore", root)
    assert store.label_set_hash() == before


@pytest.mark.parametrize("change", ["pause", "remove"])
def test_an_answer_to_a_task_that_was_taken_away_meanwhile_is_kept(
    store: Store, review: TaskReview, change: str
) -> None:
    (task,) = fill(store, 1, 1)
    ann, root = store.annotator("ann").id, store.annotator("root").id
    given = store.next_assignment(ann)
    assert given is not None
    review.change([task.id], change, root)  # type: ignore[arg-type]
    assert (store.next_assignment(ann), store.waiting()) == (None, 0), "it is on the screen, and given to nobody"
    assert store.record(prefer(given, key="late")) == "taken"
    assert store.record(prefer(given, key="late")) == "repeated"
    assert [each.key for each in store.judgements()] == ["late"]
    review.change([task.id], "resume" if change == "pause" else "restore", root)
    assert store.waiting() == 0
    assert store.next_assignment(store.annotator("bob").id) is None, "its one place is taken"


def test_a_paused_task_waits_and_is_given_again(store: Store, review: TaskReview) -> None:
    first, second = fill(store, 2)
    ann, root = store.annotator("ann").id, store.annotator("root").id
    review.change([first.id, second.id], "pause", root)
    assert (store.next_assignment(ann), store.progress(ann).total) == (None, 0)
    review.change([first.id], "resume", root)
    assert outstanding(store, ann) == [first.id]


def test_a_decided_task_is_decided_again_when_it_is_restored(store: Store, review: TaskReview) -> None:
    (task,) = fill(store, 1)
    root = store.annotator("root").id
    review.decide(task.id, root, Answer("tie"))
    assert review.change([task.id], "pause", root) == [], "nobody is asked already"
    review.change([task.id], "remove", root)
    assert export(store, "ties") == []
    with pytest.raises(UserError, match="Restore it first"):
        review.decide(task.id, root, Answer("tie"))
    review.change([task.id], "restore", root)
    assert (review.task(task.id).task.state, len(export(store, "ties"))) == ("decided", 1)


def test_the_repeats_of_a_removed_task_go_with_it(store: Store, review: TaskReview) -> None:
    fill(store, 40, campaign=Campaign(gold_share=0, repeat_share=0.5, random_share=0))  # so that there is a repeat
    ann, root = store.annotator("ann").id, store.annotator("root").id
    outstanding(store, ann)
    again = next(task for task in store.tasks() if task.repeat_of)
    assert again.repeat_of is not None
    assert set(review.change([again.repeat_of], "remove", root)) == {again.id, again.repeat_of}
    assert {task.id for task in store.tasks() if task.state == "removed"} == {again.id, again.repeat_of}
    with pytest.raises(UserError, match=f"{again.id} shows the task {again.repeat_of} again, which is removed"):
        review.change([again.id], "restore", root)
    assert set(review.change([again.id, again.repeat_of], "restore", root)) == {again.id, again.repeat_of}
    review.change([again.id], "remove", root)
    assert review.change([again.id], "restore", root) == [again.id], "what it shows again was never removed"


def test_what_is_not_there_or_a_verdicts_is_not_changed(store: Store, review: TaskReview) -> None:
    (task,) = fill(store, 1)
    verdict = fill(store, 1, campaign=Campaign().for_verdict("verdict-0", 1), asked="held out")[0]
    root = store.annotator("root").id
    for ids, change, told in (
        ([task.id, "nowhere"], "remove", "there is no task"),
        ([task.id, verdict.id], "remove", "part of a verdict"),
        ([task.id], "delete", "no change of a task"),
    ):
        with pytest.raises(UserError, match=told):
            review.change(ids, change, root)  # type: ignore[arg-type]
    assert {each.state for each in store.tasks()} == {"open"}


def test_a_new_version_of_a_campaign_asks_no_removed_task_again(store: Store, review: TaskReview) -> None:
    rating = Campaign(name="rates", kind="rating", scale=5)
    first, second, third = fill_with(store, rating, 3, 1)
    root = store.annotator("root").id
    assert len(store.assignments(root, 3)) == 3
    review.change([first.id], "remove", root)
    review.change([second.id], "pause", root)
    store.add_campaign(rating.model_copy(update={"scale": 7}))
    new = {task.prompt_id: task.state for task in store.tasks() if task.version == 2}
    assert new == {second.prompt_id: "paused", third.prompt_id: "open"}
