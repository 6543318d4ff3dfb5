"""Length as a reward."""

from typing import Any

import pytest

from foundation.errors import UserError
from reward_model.rewards.registry import build


def values(spec: dict[str, Any], *responses: str, **columns: Any) -> list[float]:
    return build(spec)(prompts=["p"] * len(responses), completions=list(responses), **columns)


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
