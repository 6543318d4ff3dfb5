"""Which task an annotator gets next."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from labeling_ui.assignment.next_task import OpenTask, at_random, mixed_in, next_task, task_to_repeat
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Task

TASKS = [Task("p", (f"x{number}", f"y{number}")) for number in range(100)]


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 3), max_size=12), st.text(max_size=3))
def test_the_least_taken_task_comes_first_whatever_the_order_of_rows(taken: dict[str, int], annotator: str) -> None:
    rows = [OpenTask(task_id, number) for task_id, number in taken.items()]
    chosen = next_task(rows, annotator)
    assert chosen == next_task(reversed(rows), annotator)
    if chosen is None:
        assert not rows
    else:
        assert taken[chosen] == min(taken.values())


def test_priority_comes_before_how_often_a_task_was_taken_except_in_the_random_slice() -> None:
    rows = [OpenTask("urgent", taken=2, priority=1.0), OpenTask("fresh", taken=0, priority=0.5)]
    assert next_task(rows, "ann") == "urgent"
    assert next_task(rows, "ann", by_priority=False) == "fresh"


def test_annotators_do_not_march_in_step() -> None:
    rows = [OpenTask(task.id, 0) for task in TASKS[:100]]
    chosen = [next_task(rows, f"annotator {number}") for number in range(20)]
    assert len(set(chosen)) >= 15


def test_what_is_mixed_in_comes_at_the_campaigns_rates() -> None:
    campaign = Campaign(gold_share=0.1, repeat_share=0.2, random_share=0.3)
    drawn = Counter(mixed_in(campaign, "ann", turn) for turn in range(4000))
    # Four standard deviations: 76, 101 and 116.
    assert abs(drawn["gold"] - 400) < 76
    assert abs(drawn["repeat"] - 800) < 101
    assert abs(sum(at_random(campaign, "ann", turn) for turn in range(4000)) - 1200) < 116
    assert [mixed_in(campaign, "ann", turn) for turn in range(30)] != [
        mixed_in(campaign, "bo", turn) for turn in range(30)
    ]
    never = Campaign(gold_share=0, repeat_share=0, random_share=0)
    assert not any(mixed_in(never, "ann", turn) or at_random(never, "ann", turn) for turn in range(100))


def test_a_repeat_keeps_its_distance_and_comes_once() -> None:
    judged = [f"task {number}" for number in range(8)]  # the newest first
    assert task_to_repeat(judged[:5], set(), "ann") is None
    assert task_to_repeat(judged[:6], set(), "ann") == "task 5"
    assert task_to_repeat(judged, {"task 5", "task 7"}, "ann") == "task 6"
    assert task_to_repeat(judged, set(judged), "ann") is None
