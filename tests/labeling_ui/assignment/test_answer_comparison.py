"""What answers have in common."""

import pytest

from labeling_ui.assignment.answer_comparison import pair_orders, similarity
from labeling_ui.data_model import Answer, Task


def test_orders_of_a_partial_ranking_name_only_what_was_ranked() -> None:
    task = Task("p", ("a", "b", "c", "d"))
    found = pair_orders(Answer("ranked", ranking=(("d",), ("a", "b"))), task)
    assert found == {(task.id, "a", "b"): 0, (task.id, "a", "d"): -1, (task.id, "b", "d"): -1}


def test_answers_are_alike_by_degrees() -> None:
    task = Task("p", ("a", "b", "c"))
    one_way, other = (
        Answer("ranked", ranking=(("a",), ("b",), ("c",))),
        Answer("ranked", ranking=(("b",), ("a",), ("c",))),
    )
    assert similarity(one_way, one_way, task) == 1.0
    assert similarity(one_way, other, task) == pytest.approx(2 / 3)
    assert similarity(one_way, Answer("skip"), task) is None
    assert similarity(one_way, Answer("ranked", ranking=(("a",),)), task) is None
    five, six = (Answer("rated", ratings={"helpful": {"a": n}, "honest": {"a": 2 * n}}) for n in (3, 4))
    assert similarity(five, six, task) == 0.5, "one point apart is near, two are not"
    assert similarity(Answer("preferred", winner="a"), Answer("preferred", winner="b"), task) == 0.0
    assert similarity(Answer("tie"), Answer("both_bad"), task) == 0.0
