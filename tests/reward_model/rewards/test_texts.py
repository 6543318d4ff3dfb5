"""Words of a text."""

from hypothesis import given
from hypothesis import strategies as st

from reward_model.rewards.texts import words


def test_each_character_of_a_script_without_spaces_is_a_word() -> None:
    assert words("I don't say 你好吗 to Кошка, 2 times") == [
        "I", "don't", "say", "你", "好", "吗", "to", "Кошка", "2", "times",
    ]  # fmt: skip
    assert words("コーヒー ที่นี่ ok") == ["コ", "ー", "ヒ", "ー", "ที่", "นี่", "ok"]


@given(st.text())
def test_words_of_any_text_are_in_it(text: str) -> None:
    assert all(word in text and word.strip() == word for word in words(text))
