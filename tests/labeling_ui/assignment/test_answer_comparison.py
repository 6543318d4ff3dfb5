"""What answers have in common."""

import pytest

from labeling_ui.assignment.answer_comparison import disagreement, pair_orders, similarity
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
    assert similarity(one_way, one_way, task, 7) == 1.0
    assert similarity(one_way, other, task, 7) == pytest.approx(2 / 3)
    assert similarity(one_way, Answer("skip"), task, 7) is None
    assert similarity(one_way, Answer("ranked", ranking=(("a",),)), task, 7) is None
    five, six = (Answer("rated", ratings={"helpful": {"a": n}, "honest": {"a": 2 * n}}) for n in (3, 4))
    assert similarity(five, six, task, 7) == 0.5, "one point apart is near, two are not"
    assert similarity(Answer("preferred", winner="a"), Answer("preferred", winner="b"), task, 7) == 0.0
    assert similarity(Answer("tie"), Answer("both_bad"), task, 7) == 0.0


@pytest.mark.parametrize(("scale", "near"), [(2, 0.0), (3, 0.0), (4, 0.0), (5, 1.0), (9, 1.0)])
def test_a_point_is_an_opinion_of_its_own_on_a_short_scale(scale: int, near: float) -> None:
    # On a scale of two points everything would be near: whoever always says 1 would pass any known answer.
    task = Task("p", ("a",))
    low, high = (Answer("rated", ratings={"helpful": {"a": point}}) for point in (1, 2))
    assert similarity(low, high, task, scale) == near
    assert similarity(low, low, task, scale) == 1.0
    assert disagreement([low, high], task, scale) == 1 - near
