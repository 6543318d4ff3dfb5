"""Rewards that look at the response alone."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from reward_model.rewards.registry import build
from reward_model.rewards.reward_function import words
from reward_model.rewards.surface import errors_per_100_words, occurs


def values(spec: dict[str, Any], *responses: str, **columns: Any) -> list[float]:
    return build(spec)(prompts=["p"] * len(responses), completions=list(responses), **columns)


# --- grammar ---


def test_errors_are_counted_by_kind_in_a_hundred_words() -> None:
    found = errors_per_100_words("He go to school with an banana and the the dog.")
    assert found == pytest.approx({"Agreement": 100 / 11, "Miscellaneous": 100 / 11, "Repetition": 100 / 11})


def test_grammar_is_minus_the_errors_down_to_the_worst() -> None:
    right, wrong, hopeless = "He goes to school by bus.", "He go to school by bus.", "teh teh teh teh"
    assert values({"name": "grammar"}, right, wrong, hopeless) == pytest.approx([0, -100 / 6, -50])
    assert values({"name": "grammar", "worst": 10}, wrong) == [-10]


def test_kinds_can_be_weighed_and_left_out() -> None:
    text = "He go to skool by bus."
    assert values({"name": "grammar", "kinds": {"Agreement": 0.5}}, text) == pytest.approx([-0.5 * 100 / 6])
    assert values({"name": "grammar", "kinds": {}}, text) == [0]


def test_each_dialect_spells_in_its_own_way() -> None:
    text = "My favourite colour is the colour of honour."
    assert values({"name": "grammar", "dialect": "british"}, text) == [0]
    assert values({"name": "grammar", "dialect": "american"}, text)[0] < 0


@pytest.mark.parametrize("response", ["", "  \n", "...", "中文的句子没有错误。"])
def test_saying_nothing_that_can_be_checked_does_not_pay(response: str) -> None:
    assert values({"name": "grammar"}, response) == [-50]


# --- length ---


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"target": 4}, [-1, -0.5, 0, -0.5, -1]),
        ({"low": 2, "high": 4}, [-0.5, 0, 0, -0.5, -1]),
        ({"high": 4}, [0, 0, 0, -0.5, -1]),
        ({"low": 4}, [-1, -0.5, 0, 0, 0]),
        ({"high": 4, "fall": 16}, [0, 0, 0, -0.125, -0.375]),
    ],
    ids=str,
)
def test_length_is_nought_within_the_band_and_falls_to_minus_one(
    parameters: dict[str, float], expected: list[float]
) -> None:
    responses = ["", "a b", "a b c d", "a b c d e f", "a b c d e f g h i j"]
    assert values({"name": "length", **parameters}, *responses) == expected


def test_length_counts_characters_and_the_tokens_that_were_sampled() -> None:
    assert values({"name": "length", "unit": "characters", "target": 4}, "abcd", "ab") == [0, -0.5]
    counted = values({"name": "length", "unit": "tokens", "target": 4}, "x", "x", completion_ids=[[1] * 4, [1] * 6])
    assert counted == [0, -0.5]
    with pytest.raises(UserError, match='"length" is computed with the base model, and none was handed in'):
        values({"name": "length", "unit": "tokens", "target": 4}, "x")


@pytest.mark.parametrize("parameters", [{}, {"target": 3, "high": 4}, {"low": 5, "high": 4}, {"target": 0}])
def test_a_band_that_is_none_is_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(UserError, match='the reward "length"'):
        build({"name": "length", **parameters})


def test_each_character_of_a_script_without_spaces_is_a_word() -> None:
    assert words("I don't say 你好吗 to Кошка, 2 times") == [
        "I", "don't", "say", "你", "好", "吗", "to", "Кошка", "2", "times",
    ]  # fmt: skip


@given(st.text())
def test_words_of_any_text_are_in_it(text: str) -> None:
    assert all(word in text and word.strip() == word for word in words(text))


# --- keywords and unsafe words ---


def test_keywords_are_whole_words_in_any_case() -> None:
    spec = {"name": "keywords", "words": ["tea", "warm milk"]}
    assert values(spec, "Tea with warm\nmilk", "a team", "TEA!") == [1, 0, 0.5]
    assert values({**spec, "count": "any"}, "Tea", "coffee") == [1, 0]
    assert values({**spec, "count": "all"}, "Tea", "tea, warm milk") == [0, 1]


def test_each_row_can_have_its_own_keywords() -> None:
    assert values({"name": "keywords"}, "tea", "tea", keywords=[["tea"], ["milk"]]) == [1, 0]
    with pytest.raises(UserError, match="needs keywords, and row 2 has none"):
        values({"name": "keywords"}, "tea", "tea", keywords=[["tea"], []])


@pytest.mark.parametrize("disguised", ["BOMB", "ｂｏｍｂ", "bo\u200bmb", "a bomb.", "bomb", "炸弹在这里"])
def test_a_listed_word_is_found_however_it_is_written(disguised: str) -> None:
    assert values({"name": "safety", "words": ["bomb", "炸弹"]}, disguised) == [0]


def test_words_that_only_contain_a_listed_one_are_left_alone() -> None:
    assert values({"name": "safety", "words": ["bomb"]}, "a bombastic aplomb") == [1]
    assert occurs("c++", "I like C++ best")
    assert not occurs("c++", "abc++")


def test_a_word_list_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# unkind\nblockhead\n\n  silly goose \n", encoding="utf-8")
    assert values({"name": "safety", "file": path}, "you silly  goose", "dear friend, unkind?") == [0, 1]
    with pytest.raises(UserError, match=r"missing\.txt of the reward"):
        build({"name": "safety", "file": tmp_path / "missing.txt"})
    with pytest.raises(UserError, match="empty word list"):
        build({"name": "safety"})
