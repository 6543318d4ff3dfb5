"""A skip uses no task up: the task goes to others, and when enough have skipped it, to a reviewer."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from labeling_ui.data_model import Answer, Judgement, Role
from labeling_ui.store import tables
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import TIE, fill

SKIP = Answer("skip", reason="I cannot tell")


def person(store: Store, name: str, role: Role = "annotator") -> str:
    made = store.annotator(name).id
    with store.database.write() as connection:
        connection.execute(sa.update(tables.annotators).where(tables.annotators.c.id == made).values(role=role))
    return made


def answer_all(store: Store, who: str, answer: Answer) -> int:
    number = 0
    while shown := store.next_assignment(who):
        assert store.record(shown.judgement(answer)) == "taken"
        number += 1
    return number


def test_what_one_annotator_skips_goes_to_the_others(store: Store) -> None:
    fill(store, 5, overlap=2)
    assert answer_all(store, person(store, "ann"), SKIP) == 5
    assert store.waiting() == 10, "nobody has judged anything yet"
    assert [answer_all(store, person(store, name), TIE) for name in ("bob", "cy", "di")] == [5, 5, 0]
    assert store.waiting() == 0
    assert store.counts().by_verdict["skip"] == 5


def test_what_enough_have_skipped_waits_for_a_reviewer(store: Store) -> None:
    fill(store, 2, overlap=2)
    for name in ("ann", "bob", "cy"):
        assert answer_all(store, person(store, name), SKIP) == 2
    assert answer_all(store, person(store, "di"), TIE) == 0, "three could not judge it: a fourth is not asked"
    assert store.waiting() == 2
    assert answer_all(store, person(store, "rex", "reviewer"), TIE) == 2
    assert store.waiting() == 0, "a reviewer's word is enough"


def test_what_a_reviewer_cannot_judge_either_is_left(store: Store) -> None:
    fill(store, 1)
    for name in ("ann", "bob", "cy"):
        answer_all(store, person(store, name), SKIP)
    rex = person(store, "rex", "reviewer")
    assert answer_all(store, rex, SKIP) == 1
    assert (store.waiting(), store.next_assignment(rex)) == (0, None)


@pytest.mark.parametrize("second_thought", ["edit", "undo"])
def test_a_skip_that_is_taken_back_takes_its_place_again(store: Store, second_thought: str) -> None:
    fill(store, 1)
    ann, bob = person(store, "ann"), person(store, "bob")
    shown = store.next_assignment(ann)
    assert shown is not None
    store.record(shown.judgement(SKIP, key="k"))
    if second_thought == "edit":
        store.record(replace(shown.judgement(TIE, key="e"), action="edit"))
    else:
        assert store.undo(ann, "u") is not None
    assert store.next_assignment(bob) is None, "the one place is taken"
    assert store.waiting() == (0 if second_thought == "edit" else 1)
    if second_thought == "edit":
        store.record(replace(shown.judgement(SKIP, key="e2"), action="edit"))
        assert store.next_assignment(bob) is not None


def test_answers_and_skips_that_come_at_once_are_counted_each_as_it_is(store: Store) -> None:
    (task,) = fill(store, 1, overlap=3)
    people = [person(store, name) for name in ("ann", "bob", "cy")]
    said = (SKIP, TIE, SKIP)
    store.record_many([Judgement(task.id, who, task.candidates, each) for who, each in zip(people, said, strict=True)])
    assert store.waiting() == 2
    assert store.next_assignment(person(store, "di")) is not None


@pytest.mark.parametrize("word", [TIE, SKIP], ids=["answered", "skipped"])
def test_what_some_have_judged_and_enough_have_skipped_waits_for_one_reviewer(store: Store, word: Answer) -> None:
    fill(store, 2, overlap=3)
    assert answer_all(store, person(store, "ann"), TIE) == 2
    for name in ("bob", "cy", "di"):
        assert answer_all(store, person(store, name), SKIP) == 2
    assert answer_all(store, person(store, "ed"), TIE) == 0, "three could not judge it: a fifth is not asked"
    rex, root = person(store, "rex", "reviewer"), person(store, "root", "admin")
    assert [store.waiting(), store.progress(rex).total, store.progress(root).total] == [2, 2, 2]
    assert store.next_assignment(root) is not None
    assert store.progress(rex).total == 1, "the other one is a reviewer's already"
    assert answer_all(store, rex, word) == 1
    assert (store.waiting(), store.progress(root).total) == (1, 1)
    assert answer_all(store, root, word) == 1
    assert (store.waiting(), store.next_assignment(rex)) == (0, None), "one reviewer's word is enough"
    assert (store.progress(rex).total, store.progress(root).total) == (1, 1)
    assert store.undo(rex, "undo") is not None
    assert store.waiting() == 1


def test_what_a_reviewer_has_judged_before_is_left_at_that(store: Store) -> None:
    fill(store, 1, overlap=3)
    assert answer_all(store, person(store, "rex", "reviewer"), TIE) == 1
    for name in ("bob", "cy", "di"):
        assert answer_all(store, person(store, name), SKIP) == 1
    root = person(store, "root", "admin")
    assert (store.waiting(), store.next_assignment(root), store.progress(root).total) == (0, None, 0)
