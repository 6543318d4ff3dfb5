"""Tasks that cannot be: each is refused as it is made, by either environment."""

import math
from typing import Any

import pytest

from foundation.errors import UserError
from policy.textbook.environment import TextGenerationEnv, TextGenerationVectorEnv
from tests.policy.textbook.cat_environment import CAT, letters

BAD = {
    "an empty vocabulary": ({"vocabulary": []}, "vocabulary is empty"),
    "a word twice": ({"vocabulary": ["a", "b", "a"]}, "twice: a"),
    "a string for a vocabulary": ({"vocabulary": "abc"}, "one string"),
    "an empty word": ({"vocabulary": ["a", ""]}, "'' cannot be a word"),
    "a word with the separator": ({"vocabulary": ["a", "b c"]}, "'b c' cannot be a word"),
    "an eos outside": ({"eos": "!"}, "'!' is not in the vocabulary"),
    "an eos id outside": ({"eos": 6}, "6 is not in the vocabulary"),
    "a target outside": ({"target": "the dog"}, "'dog' is not in the vocabulary"),
    "a target outside, unseparated": ({"target": "catdog", "separator": ""}, "cannot be written"),
    "a target that is too long": ({"target": "the cat sat", "max_length": 2}, "3 tokens and max_length is 2"),
    "a prompt outside": ({"prompts": ["the dog"]}, "'dog' is not in the vocabulary"),
    "a conversation without a tokenizer": ({"prompts": [[{"role": "user", "content": "the"}]]}, "chat template"),
    "no prompts": ({"prompts": []}, "no prompts"),
    "a discount above 1": ({"discount": 1.01}, r"discount is 1.01; it must lie in \[0, 1\]"),
    "a discount below 0": ({"discount": -0.1}, "discount is -0.1"),
    "a discount that is no number": ({"discount": math.nan}, "discount is nan"),
    "no length": ({"max_length": 0}, "max_length is 0"),
    "no reward": ({"reward": None}, "nothing is rewarded"),
    "a column that is too short": (
        {"prompts": ["the", "cat"], "columns": {"x": [1]}},
        '"x" has 1 values for 2 prompts',
    ),
    "weights that do not fit": ({"reward_weights": [1, 2]}, "2 reward_weights for 1"),
    "a weight that is not finite": ({"reward_weights": [math.inf]}, "weight of letters gave inf"),
}


@pytest.mark.parametrize(("settings", "message"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("kind", [TextGenerationEnv, TextGenerationVectorEnv])
def test_what_cannot_be_is_a_value_error_and_a_user_error(kind: Any, settings: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"vocabulary": CAT, "reward": letters, "max_length": 4}
    for expected in (ValueError, UserError):
        with pytest.raises(expected, match=message):
            kind(**usual | settings)
