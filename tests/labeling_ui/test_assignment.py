"""Which task next, and which response on the left."""

from hypothesis import given
from hypothesis import strategies as st

from rlhf_pipeline.labeling_ui.assignment import OpenTask, left_of, next_task
from rlhf_pipeline.labeling_ui.records import Task

TASKS = [Task("p", f"x{number}", f"y{number}") for number in range(2000)]


def test_sides_are_fair_for_each_annotator_and_independent_between_them() -> None:
    ann = [left_of(task, "ann") == task.a for task in TASKS]
    bob = [left_of(task, "bob") == task.a for task in TASKS]
    # Four standard deviations of a fair coin thrown 2,000 times are 90.
    assert abs(sum(ann) - 1000) < 90
    assert abs(sum(bob) - 1000) < 90
    assert abs(sum(a == b for a, b in zip(ann, bob, strict=True)) - 1000) < 90


def test_sides_do_not_change_between_processes() -> None:
    assert [left_of(task, "ann") for task in TASKS[:6]] == ["x0", "y1", "x2", "y3", "x4", "y5"]


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 3), max_size=12), st.text(max_size=3))
def test_the_least_taken_task_comes_first_whatever_the_order_of_rows(taken: dict[str, int], annotator: str) -> None:
    rows = [OpenTask(task_id, number) for task_id, number in taken.items()]
    chosen = next_task(rows, annotator)
    assert chosen == next_task(reversed(rows), annotator)
    if chosen is None:
        assert not rows
    else:
        assert taken[chosen] == min(taken.values())


def test_annotators_do_not_march_in_step() -> None:
    rows = [OpenTask(task.id, 0) for task in TASKS[:100]]
    chosen = [next_task(rows, f"annotator {number}") for number in range(20)]
    assert len(set(chosen)) >= 15
