"""The form of a response: patterns, JSON, JSON Schema."""

from typing import Any

import pytest

from foundation.errors import UserError
from reward_model.rewards.kinds.format import check_schema, valid
from reward_model.rewards.registry import build

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


def values(spec: dict[str, Any], *responses: str) -> list[float]:
    return build({"name": "format", **spec})(prompts=["p"] * len(responses), completions=list(responses))


def test_a_pattern_must_match_the_whole_response() -> None:
    assert values({"pattern": r"Answer: \d+"}, "Answer: 42", "Answer: 42!", "So: Answer: 42") == [1, 0, 0]


def test_json_is_parsed_strictly() -> None:
    responses = ['{"a": [1, null]}', "[1, 2", "NaN", "Here: {}", "", "[" * 100_000]
    assert values({"parsed": True}, *responses) == [1, 0, 0, 0, 0, 0]


def test_a_schema_asks_for_more_than_json() -> None:
    responses = ['{"name": "Ada", "age": 36}', '{"name": ""}', '{"age": 3}', '{"name": "A", "x": 1}', "[]"]
    assert values({"fits": PERSON}, *responses) == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, [1, 1.0], [1.5, True, "1"]),
        ({"type": ["number", "null"]}, [1.5, None], [False]),
        ({"enum": [1, "a"]}, [1, "a"], [True, "b"]),
        ({"const": {"a": [1]}}, [{"a": [1]}], [{"a": [2]}]),
        ({"items": {"type": "string"}, "minItems": 1, "maxItems": 2}, [["a"]], [[], [1], ["a", "b", "c"]]),
        ({"minLength": 2, "maxLength": 3, "pattern": "b"}, ["ab", 5], ["b", "abcd", "aa"]),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, [0.5], [0, 1]),
        ({"anyOf": [{"type": "string"}, {"minimum": 3}], "not": {"const": 4}}, ["a", 3], [2, 4]),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1.5], [0, 3]),
        ({"properties": {"a": False}}, [{"b": 1}], [{"a": 1}]),
        ({"additionalProperties": {"type": "string"}}, [{"a": "b"}], [{"a": 1}]),
    ],
    ids=str,
)
def test_keywords_of_json_schema(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    check_schema(schema)
    assert [valid(value, schema) for value in good] == [True] * len(good)
    assert [valid(value, schema) for value in bad] == [False] * len(bad)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "give pattern, parsed or fits"),
        ({"pattern": "("}, "is not a regular expression"),
        ({"fits": {"$ref": "#/x"}}, 'uses "\\$ref", which is not understood. Understood: type, enum'),
        ({"fits": {"properties": {"a": {"oneOf": []}}}}, 'properties of the schema uses "oneOf"'),
        ({"fits": {"type": "text"}}, "names the type 'text'. Known: object"),
    ],
)
def test_what_could_never_be_checked_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build({"name": "format", **spec})


def test_a_pattern_that_takes_for_ever_is_stopped() -> None:
    with pytest.raises(UserError, match=r"took longer than 0.2 s on one response: nested repetitions"):
        values({"pattern": r"(a|aa|b)+x", "seconds": 0.2}, "a" * 60 + "!x")
