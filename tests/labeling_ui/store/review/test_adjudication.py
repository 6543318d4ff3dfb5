"""A reviewer's answer decides a task: it is logged, it is what exports use, and it is nobody's vote."""

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.exchange.exports.registry import export
from labeling_ui.people.accounts import Accounts
from labeling_ui.quality.assessment import report
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, fill, fill_with, prefer


@pytest.fixture
def review(store: Store, clock: Clock) -> TaskReview:
    return TaskReview(store.database, clock)


def judge(store: Store, name: str, winner: str | None = None) -> None:
    """Everything that the annotator is given, for this response or the one on the left."""
    who = store.annotator(name).id
    while given := store.next_assignment(who):
        ids = [one.id for one in given.shown]
        store.record(given.judgement(Answer("preferred", winner if winner in ids else ids[0], 1), 2.0))


def test_a_decision_replaces_the_votes_and_counts_in_no_figure(store: Store, review: TaskReview) -> None:
    (task,) = fill(store, 1, 3)
    one, other = task.candidates
    for name in ("ann", "bob", "cy"):
        judge(store, name, one)
    rex = store.annotator("rex").id
    before, figures = store.label_set_hash(), report(store)
    assert preferences(store).rows[0]["ids"]["chosen"] == one
    review.decide(task.id, rex, Answer("preferred", other, 3, rationale="B cites its source."))
    (row,) = export(store, "preferences")
    assert (row["ids"]["chosen"], row["annotators"], row["adjudicated"]) == (other, [rex], True)
    assert (row["p_chosen"], row["posterior"], row["margin"]) == (1.0, 1.0, 1.0)
    assert row["rationales"] == ["B cites its source."]
    assert report(store) == figures, "agreement and skill are those of annotators"
    assert store.label_set_hash() != before
    event = list(store.events())[-1]
    assert (event.action, event.annotator_id, event.created_at[:10]) == ("adjudicate", rex, "1970-01-12")
    assert len(list(store.judgements())) == 3, "what annotators said is kept"
    review.reopen(task.id, rex)
    assert store.label_set_hash() == before
    assert preferences(store).rows[0]["ids"]["chosen"] == one
    assert [event.action for event in store.events()][-2:] == ["adjudicate", "reopen"]
    with pytest.raises(UserError, match="was not decided"):
        review.reopen(task.id, rex)


def test_a_decided_task_is_asked_no_more_and_a_late_answer_is_kept(store: Store, review: TaskReview) -> None:
    (task,) = fill(store, 1, 2)
    ann, rex = store.annotator("ann").id, store.annotator("rex").id
    given = store.next_assignment(ann)
    assert given is not None
    review.decide(task.id, rex, Answer("tie"))
    assert (store.waiting(), store.next_assignment(ann), store.next_assignment(rex)) == (0, None, None)
    assert store.record(prefer(given)) == "taken"
    assert review.task(task.id).judges == {ann}
    assert preferences(store).ties == 1, "the decision stands"
    review.reopen(task.id, rex)
    assert store.waiting() == 1


def test_a_second_decision_takes_the_place_of_the_first(store: Store, review: TaskReview) -> None:
    (task,) = fill(store, 1)
    rex, root = store.annotator("rex").id, store.annotator("root").id
    review.decide(task.id, rex, Answer("tie"))
    review.decide(task.id, root, Answer("both_bad"))
    detail = review.task(task.id)
    assert detail.decision is not None
    assert (detail.decision.annotator_id, detail.decision.answer.verdict) == (root, "both_bad")
    assert [each.in_force for each in detail.events] == [False, True]


def test_an_adjudicator_who_was_the_annotator_counts_once(store: Store, review: TaskReview) -> None:
    (task,) = fill(store, 1)
    judge(store, "rex", task.candidates[0])
    rex = store.annotator("rex").id
    review.decide(task.id, rex, Answer("preferred", task.candidates[1], 1))
    (row,) = export(store, "preferences")
    assert (row["annotators"], row["ids"]["chosen"], row["weight"]) == ([rex], task.candidates[1], 1.0)
    assert store.history(rex)[0].answer.winner == task.candidates[0], "their own answer is theirs to change"
    assert review.task(task.id).judges == {rex}


def test_what_cannot_be_decided_is_refused(store: Store, review: TaskReview) -> None:
    tasks = fill(store, 2, gold=1, campaign=Campaign())
    rex = store.annotator("rex").id
    verdict = fill(store, 1, campaign=Campaign().for_verdict("verdict-0", 1), asked="held out")[0]
    for task_id, answer, told in (
        (tasks[0].id, Answer("tie"), "is known"),
        (verdict.id, Answer("tie"), "part of a verdict"),
        (tasks[1].id, Answer("skip", reason="?"), "decides nothing"),
        (tasks[1].id, Answer("preferred", "other"), "not one of its candidates"),
        ("nowhere", Answer("tie"), "there is no task"),
    ):
        with pytest.raises(UserError, match=told):
            review.decide(task_id, rex, answer)
    assert list(store.events()) == []


def test_rankings_and_ratings_can_be_decided(store: Store, review: TaskReview) -> None:
    (ranked,) = fill_with(store, Campaign(name="ranks", kind="ranking", responses=3), 1, 3)
    (rated,) = fill_with(store, Campaign(name="rates", kind="rating", scale=5, aspects=("kind",)), 1, 1)
    rex = store.annotator("rex").id
    judge_a, judge_b, judge_c = ranked.candidates
    review.decide(ranked.id, rex, Answer("ranked", ranking=((judge_b,), (judge_a, judge_c))))
    review.decide(rated.id, rex, Answer("rated", ratings={"kind": {rated.candidates[0]: 4}}))
    assert {(row["ids"]["chosen"], row["posterior"]) for row in export(store, "rankings")} == {(judge_b, 1.0)}
    assert [(row["score"], row["annotator"], row["adjudicated"]) for row in export(store, "ratings")] == [
        (4, rex, True)
    ]


def test_forgetting_a_reviewer_with_all_they_said_opens_their_tasks(store: Store, review: TaskReview) -> None:
    (task,) = fill(store, 1)
    rex = store.annotator("rex").id
    review.decide(task.id, rex, Answer("tie"))
    Accounts(store.database).forget("rex", "delete")
    assert (list(store.events()), store.waiting(), review.task(task.id).decision) == ([], 1, None)
