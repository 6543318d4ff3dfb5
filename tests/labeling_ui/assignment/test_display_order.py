"""In which order a task's responses are shown."""

from collections import Counter

from labeling_ui.assignment.display_order import display_order
from labeling_ui.data_model import Task

TASKS = [Task("p", (f"x{number}", f"y{number}")) for number in range(2000)]


def test_sides_are_fair_for_each_annotator_and_independent_between_them() -> None:
    ann = [display_order(task, "ann") == task.candidates for task in TASKS]
    bob = [display_order(task, "bob") == task.candidates for task in TASKS]
    # Four standard deviations of a fair coin thrown 2,000 times are 90.
    assert abs(sum(ann) - 1000) < 90
    assert abs(sum(bob) - 1000) < 90
    assert abs(sum(a == b for a, b in zip(ann, bob, strict=True)) - 1000) < 90


def test_every_order_of_three_is_as_likely() -> None:
    seen = Counter(
        tuple("abc".index(each[0]) for each in display_order(Task("p", (f"a{n}", f"b{n}", f"c{n}")), "ann"))
        for n in range(3000)
    )
    # 500 expected of each of the six; four standard deviations are 82.
    assert len(seen) == 6
    assert all(abs(number - 500) < 82 for number in seen.values())


def test_orders_do_not_change_between_processes() -> None:
    assert [display_order(task, "ann")[0] for task in TASKS[:6]] == ["x0", "y1", "x2", "y3", "y4", "y5"]
