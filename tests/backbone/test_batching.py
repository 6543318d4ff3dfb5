"""Batches by length and by prompt: every row once, within the limits."""

from hypothesis import given
from hypothesis import strategies as st

from backbone.batching import by_length, by_prompt

PROMPTS = [[1, 5, 6, 7, 8]] * 3 + [[1, 200, 30]] + [[1, 9, 10, 11]] * 2 + [[1, 200, 30]]
RESPONSES = [[30, 31, 2], [7], [9, 9, 9, 200, 2], [100, 2], [40, 41, 42], [43, 2], [5, 5, 5, 5, 5, 2]]


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 5), st.integers(1, 80))
def test_every_row_is_in_one_batch_within_both_limits(lengths: list[int], most_rows: int, most_tokens: int) -> None:
    batches = by_length(lengths, most_rows, most_tokens)
    rows = [row for batch in batches for row in batch]
    assert rows == sorted(range(len(lengths)), key=lambda row: lengths[row])
    for batch in batches:
        assert len(batch) <= most_rows
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= most_tokens


def test_batches_are_full() -> None:
    assert by_length([5, 1, 3, 2, 4], most_rows=2) == [[1, 3], [2, 4], [0]]
    assert by_length([5, 1, 3, 2, 4], most_tokens=7) == [[1, 3], [2], [4], [0]]


def test_batches_by_prompt_hold_every_row_once_and_keep_groups_together() -> None:
    found = by_prompt(PROMPTS, RESPONSES, 4)
    assert sorted(row for batch in found for row in batch) == list(range(7))
    assert all(len(batch) <= 4 for batch in found)
    assert any({0, 1, 2} <= set(batch) for batch in found)
    assert by_prompt(PROMPTS, RESPONSES, 2) != found
    assert all(len(batch) <= 2 for batch in by_prompt(PROMPTS, RESPONSES, 2))


def test_prompts_with_rows_of_similar_length_go_together() -> None:
    assert by_prompt([[0] * 3, [1], [0] * 2, [0] * 9], [[0], [0], [0], [0]], 2) == [[1, 2], [0, 3]]
