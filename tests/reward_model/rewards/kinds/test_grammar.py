"""Grammar errors as a reward."""

from typing import Any

import pytest

from reward_model.rewards.kinds.grammar import errors_per_100_words
from reward_model.rewards.registry import build


def values(spec: dict[str, Any], *responses: str, **columns: Any) -> list[float]:
    return build(spec)(prompts=["p"] * len(responses), completions=list(responses), **columns)


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
