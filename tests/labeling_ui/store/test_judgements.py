"""What becomes of an answer: sent twice, edited, withdrawn, late, or impossible."""

from collections import Counter
from dataclasses import replace

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.store.judgements import delete_judgements
from labeling_ui.store.store import Progress, Store
from tests.labeling_ui.filling import LEASE, TIE, Clock, fill, fill_with, outstanding, prefer


def test_what_was_answered_comes_back_as_it_was_given(store: Store, clock: Clock) -> None:
    (task,) = fill(store, 1)
    ann = store.annotator("ann")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    assert (shown.task, shown.campaign.name, shown.previous) == (task, "main", None)
    assert {one.response for one in shown.shown} == {"a good answer", "a bad answer"}
    given = shown.judgement(Answer("preferred", shown.shown[1].id, 3, rationale="it's “fine” ✓"), 4.25, "k1")
    assert store.record(given) == "taken"
    (kept,) = store.judgements()
    assert replace(kept, created_at="") == given
    assert kept.created_at == "1970-01-12T13:46:40.000+00:00"
    assert kept.side == "right"
    assert store.next_assignment(ann.id) is None
    assert store.progress(ann.id) == Progress(done=1, total=1)


@pytest.mark.parametrize("kind", ["ranking", "rating"])
def test_rankings_and_ratings_are_kept_as_they_were_given(store: Store, kind: str) -> None:
    campaign = Campaign.model_validate({"name": "other", "kind": kind, "aspects": ["clear"]})
    fill_with(store, campaign, prompts=1, responses=3 if kind == "ranking" else 1)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    ids = [one.id for one in shown.shown]
    said = (
        Answer("ranked", ranking=((ids[2],), (ids[0], ids[1])))
        if kind == "ranking"
        else Answer("rated", ratings={"clear": {ids[0]: 7}})
    )
    assert store.record(shown.judgement(said)) == "taken"
    assert next(store.judgements()).answer == said
    assert store.counts().by_verdict["ranked" if kind == "ranking" else "rated"] == 1


def test_the_same_answer_twice_is_one_judgement(store: Store) -> None:
    fill(store, 2)
    ann = store.annotator("ann")
    first = store.next_assignment(ann.id)
    assert first is not None
    assert store.record(prefer(first, key="k1")) == "taken"
    before = store.label_set_hash()
    assert store.record(prefer(first, key="k1")) == "repeated"
    assert store.record(prefer(first, side=1, key="k2")) == "answered", "a task is answered once by each annotator"
    assert store.record(prefer(first)) == "answered"
    assert store.label_set_hash() == before
    second = store.next_assignment(ann.id)
    assert second is not None
    with pytest.raises(UserError, match="used for another judgement"):
        store.record(prefer(second, key="k1"))
    assert store.counts().judgements == 1
    assert len(list(store.events())) == 1


def test_one_impossible_judgement_keeps_the_whole_step_out(store: Store) -> None:
    (task,) = fill(store, 1)
    ann = store.annotator("ann")
    good = Judgement(task.id, ann.id, task.candidates, Answer("tie"))
    for changes, message in (
        ({"task_id": "nowhere"}, "no task"),
        ({"annotator_id": "nobody"}, "no annotator"),
        ({"answer": Answer("preferred")}, "its winner is None"),
        ({"action": "undo"}, "an answer or an edit"),
    ):
        with pytest.raises(UserError, match=message):
            store.record_many([good, replace(good, **changes)])  # type: ignore[arg-type]
    assert store.counts().judgements == 0
    assert store.record(good) == "taken"


def test_responses_cannot_be_swapped_after_they_were_shown(store: Store) -> None:
    fill(store, 1)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    with pytest.raises(UserError, match="another order"):
        store.record(prefer(replace(shown, shown=shown.shown[::-1])))


def test_an_edit_replaces_what_was_said_and_both_stay_in_the_log(store: Store) -> None:
    fill(store, 2)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    shown = store.next_assignment(ann.id)
    assert shown is not None
    with pytest.raises(UserError, match="no judgement of task"):
        store.record(replace(prefer(shown, key="e0"), action="edit"))
    with pytest.raises(UserError, match="no judgement of yours"):
        store.assignment(shown.task.id, ann.id)
    store.record(prefer(shown, strength=1, key="k1"))
    seen = store.assignment(shown.task.id, ann.id)
    assert seen.shown == shown.shown
    assert seen.previous is not None
    assert seen.previous.answer.strength == 1
    with pytest.raises(UserError, match="no judgement of yours"):
        store.assignment(shown.task.id, bob.id)
    edit = replace(prefer(seen, side=1, strength=2, key="e1"), action="edit")
    assert (store.record(edit), store.record(edit)) == ("edited", "repeated")
    with pytest.raises(UserError, match="another order"):
        store.record(replace(edit, shown=edit.shown[::-1], key="e2"))
    assert [judgement.answer for judgement in store.judgements()] == [edit.answer]
    assert [(event.action, event.key) for event in store.events()] == [("answer", "k1"), ("edit", "e1")]
    assert [judgement.answer for judgement in store.history(ann.id)] == [edit.answer]


def test_undo_makes_the_newest_task_current_again(store: Store) -> None:
    fill(store, 4)
    ann = store.annotator("ann")
    assert store.undo(ann.id, "u0") is None
    first, second = store.assignments(ann.id, 2)
    store.record(prefer(first, strength=3, key="k1"))
    third = store.assignments(ann.id, 2)[1]
    undone = store.undo(ann.id, "u1")
    assert undone is not None
    assert undone.previous is not None
    assert (undone.task, undone.shown) == (first.task, first.shown)
    assert undone.previous.answer == prefer(first, strength=3).answer
    assert store.undo(ann.id, "u1") == undone, "the same key withdraws nothing more"
    assert [each.task.id for each in store.assignments(ann.id, 3)] == [each.task.id for each in (first, second, third)]
    assert store.next_assignment(ann.id) == undone, "what was said before is still there after a reload"
    assert store.counts().judgements == 0
    assert store.waiting() == 4
    assert store.record(prefer(first, key="k1")) == "repeated", "an old message that comes again changes nothing"
    assert store.record(prefer(undone, side=1, key="k2")) == "taken"
    assert store.undo(ann.id, "u1") is None
    assert [event.action for event in store.events()] == ["answer", "undo", "answer"]
    with pytest.raises(UserError, match="used for a judgement"):
        store.undo(ann.id, "k2")
    bob = store.annotator("bob")
    with pytest.raises(UserError, match="used for a judgement"):
        store.undo(bob.id, "u1")
    with pytest.raises(UserError, match="used for another"):
        store.record(prefer(second, key="u1"))


def test_history_is_ones_own_newest_first(store: Store) -> None:
    fill(store, 6, overlap=2)
    ann, bob = store.annotator("ann"), store.annotator("bob")
    given, _ = outstanding(store, ann.id), outstanding(store, bob.id)
    assert [judgement.task_id for judgement in store.history(ann.id)] == given[::-1]
    assert [judgement.task_id for judgement in store.history(ann.id, limit=2)] == given[:-3:-1]


def test_a_late_answer_is_kept_and_takes_the_place_of_who_has_not_answered(store: Store, clock: Clock) -> None:
    fill(store, 1)
    ann, bob, cy = (store.annotator(name) for name in ("ann", "bob", "cy"))
    late = store.next_assignment(ann.id)
    clock.now += LEASE
    refilled = store.next_assignment(bob.id)
    assert late is not None
    assert refilled is not None
    assert store.record(prefer(late)) == "taken"
    assert store.next_assignment(bob.id) is None, "bob's lease went to ann's answer: the overlap is as set"
    assert store.next_assignment(cy.id) is None
    assert store.waiting() == 0
    # Bob's page still shows the task. What he says after all is kept too, one above the overlap.
    assert store.record(prefer(refilled)) == "taken"
    assert store.counts().judgements == 2
    assert store.undo(bob.id, "u") is not None


def test_a_late_answer_takes_a_free_place_first_and_a_lapsed_lease_next(store: Store, clock: Clock) -> None:
    fill(store, 1, overlap=2)
    ann, bob, cy, di = (store.annotator(name) for name in ("ann", "bob", "cy", "di"))
    late = store.next_assignment(ann.id)
    assert late is not None
    clock.now += LEASE
    assert store.next_assignment(bob.id)
    assert store.record(prefer(late)) == "taken"
    bobs = store.next_assignment(bob.id)
    assert bobs is not None, "one place was free: bob keeps his"
    clock.now += LEASE
    cys = store.next_assignment(cy.id)
    assert cys is not None
    clock.now += LEASE
    # Bob comes back late: it is cy's lease, lapsed by now, that gives way.
    assert store.record(prefer(bobs)) == "taken"
    assert store.next_assignment(di.id) is None
    assert store.next_assignment(cy.id) is None
    assert Counter(judgement.task_id for judgement in store.judgements()) == {late.task.id: 2}


def test_a_persons_work_can_be_erased(store: Store) -> None:
    fill(store, 16, overlap=2, campaign=Campaign(gold_share=0.1, repeat_share=0.3), gold=3)
    ann, bob = store.annotator("ann", simulated=True), store.annotator("bob", simulated=True)
    outstanding(store, ann.id)
    for _ in range(10):
        shown = store.assignments(bob.id, 2)[0]
        store.record(shown.judgement(TIE))
    before = sum(judgement.annotator_id == ann.id for judgement in store.judgements())
    with store.database.write() as connection:
        assert delete_judgements(connection, ann.id) == before
    assert {event.annotator_id for event in store.events()} == {bob.id}
    assert all(task.reserved_for != ann.id for task in store.tasks())
    outstanding(store, bob.id)
    assert store.waiting() == 13
