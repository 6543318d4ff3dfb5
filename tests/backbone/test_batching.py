"""Batches by length: every row once, within both limits."""

from hypothesis import given
from hypothesis import strategies as st

from backbone.batching import by_length


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
