"""Where two texts part, in scripts with and without spaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.scripts import shared_beginning


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("Name a pet. A cat.", "Name a pet. A car.", "Name a pet. A "),
        ("Why?\nRain.", "Why?\nRay.", "Why?\n"),
        ("Is it 3.5 or 3.7?", "Is it 3.5 or 3.9?", "Is it 3.5 or "),
        ("天空是什么颜色？蓝色", "天空是什么颜色？绿色", "天空是什么颜色？"),
        ("天空是什么颜色?蓝色", "天空是什么颜色?绿色", "天空是什么颜色?"),
        ("天空是什么颜色？Blue.", "天空是什么颜色？Black.", "天空是什么颜色？"),
        ("天空是蓝色", "天空是绿色", "天空是"),
        ("ペットは？ネコ", "ペットは？ねこ", "ペットは？"),
        ("สีอะไร? น้ำเงิน", "สีอะไร? นี่", "สีอะไร? "),
        ("yes", "no", ""),
        ("the cat", "the cat sat", "the "),
        ("天空", "天空蓝", "天空"),
    ],
)
def test_texts_part_between_words_and_between_letters_of_scripts_without_spaces(
    one: str, other: str, shared: str
) -> None:
    assert one[: shared_beginning(one, other)] == shared
    assert shared_beginning(other, one) == len(shared)


@given(st.text(), st.text(), st.text())
def test_what_any_two_texts_share_opens_both(start: str, one: str, other: str) -> None:
    shared = shared_beginning(start + one, start + other)
    assert (start + one)[:shared] == (start + other)[:shared]
