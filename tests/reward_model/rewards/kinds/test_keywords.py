"""Keywords as a reward."""

from typing import Any

import pytest

from foundation.errors import UserError
from reward_model.rewards.registry import build


def values(spec: dict[str, Any], *responses: str, **columns: Any) -> list[float]:
    return build(spec)(prompts=["p"] * len(responses), completions=list(responses), **columns)


def test_keywords_are_whole_words_in_any_case() -> None:
    spec = {"name": "keywords", "words": ["tea", "warm milk"]}
    assert values(spec, "Tea with warm\nmilk", "a team", "TEA!") == [1, 0, 0.5]
    assert values({**spec, "count": "any"}, "Tea", "coffee") == [1, 0]
    assert values({**spec, "count": "all"}, "Tea", "tea, warm milk") == [0, 1]


def test_each_row_can_have_its_own_keywords() -> None:
    assert values({"name": "keywords"}, "tea", "tea", keywords=[["tea"], ["milk"]]) == [1, 0]
    assert values({"name": "keywords"}, "tea with sugar", "tea", keywords=["tea", "warm milk"]) == [1, 0]
    with pytest.raises(UserError, match="needs keywords, and row 2 has none"):
        values({"name": "keywords"}, "tea", "tea", keywords=[["tea"], []])
