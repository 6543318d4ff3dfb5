"""Words that must not occur."""

from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from reward_model.rewards.kinds.keywords import occurs
from reward_model.rewards.registry import build


def values(spec: dict[str, Any], *responses: str, **columns: Any) -> list[float]:
    return build(spec)(prompts=["p"] * len(responses), completions=list(responses), **columns)


@pytest.mark.parametrize("disguised", ["BOMB", "ｂｏｍｂ", "bo\u200bmb", "a bomb.", "bomb", "炸弹在这里"])
def test_a_listed_word_is_found_however_it_is_written(disguised: str) -> None:
    assert values({"name": "safety", "words": ["bomb", "炸弹"]}, disguised) == [0]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("バカ", "このバカめ"), ("バカ", "バカーと叫ぶ"), ("ばか", "おばかさん"),
        ("โง่", "เขาโง่มาก"), ("ໂງ່", "ລາວໂງ່ຫຼາຍ"), ("ល្ងង់", "គាត់ល្ងង់ណាស់"), ("မိုက်", "သူမိုက်တယ်"),
    ],
)  # fmt: skip
def test_a_listed_word_is_found_inside_a_sentence_without_spaces(word: str, text: str) -> None:
    assert occurs(word, text)


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
