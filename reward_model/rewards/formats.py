"""Whether a response has the form that was asked for: a regular expression, JSON, a JSON Schema.

Of JSON Schema, the keywords of `_CHECKS` are understood, which describe objects, lists, numbers and strings; a schema
that uses another is refused, since a rule that is passed over would let everything through.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Self

import regex
from pydantic import Field, model_validator

from foundation.errors import UserError
from reward_model.rewards.reward_function import Given, Kind, Reward, per_text

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "number": (int, float), "boolean": bool, "null": type(None),
}  # fmt: skip
_NOTES = ("$schema", "$id", "title", "description", "examples", "default", "$comment")


class Format(Kind):
    """1 for a response of the right form, 0 otherwise."""

    pattern: str | None = Field(None, description="a regular expression that the whole response must match")
    parsed: bool = Field(False, description="whether the response must be JSON")
    fits: dict[str, Any] | None = Field(None, description="a JSON Schema that it must be valid against")
    seconds: float = Field(1.0, gt=0, description="longest that matching one response may take")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.pattern is None and not self.parsed and self.fits is None:
            raise ValueError("give pattern, parsed or fits")
        if self.pattern is not None:
            _compiled(self.pattern)
        if self.fits is not None:
            check_schema(self.fits)
        return self

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        pattern = None if self.pattern is None else _compiled(self.pattern)

        def value(text: str) -> float:
            try:
                if pattern is not None and not pattern.fullmatch(text, timeout=self.seconds):
                    return 0.0
            except TimeoutError as error:
                raise UserError(
                    f'the pattern of the reward "format" took longer than {self.seconds:g} s on one response: nested '
                    "repetitions such as (a+)+ take for ever. Make it simpler, or raise `seconds`."
                ) from error
            if not self.parsed and self.fits is None:
                return 1.0
            try:
                found = json.loads(text, parse_constant=_refuse)
                return float(self.fits is None or valid(found, self.fits))
            except (ValueError, RecursionError):
                return 0.0

        return per_text(value)


def valid(value: Any, schema: Mapping[str, Any] | bool) -> bool:
    """Whether a parsed JSON `value` is valid against `schema` (JSON Schema 2020-12, the keywords in `_CHECKS`)."""
    if isinstance(schema, bool):
        return schema
    return all(_CHECKS[name](value, rule, schema) for name, rule in schema.items() if name in _CHECKS)


def check_schema(schema: Any, where: str = "the schema") -> None:
    """ValueError for a schema that is malformed or uses a keyword that is not understood."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise ValueError(f"{where} must be an object, found {type(schema).__name__}")
    for name, rule in schema.items():
        if name not in _CHECKS and name not in _NOTES:
            raise ValueError(f'{where} uses "{name}", which is not understood. Understood: {", ".join(_CHECKS)}')
        if name == "type" and not set([rule] if isinstance(rule, str) else rule) <= {*_TYPES, "integer"}:
            raise ValueError(f"{where} names the type {rule!r}. Known: {', '.join(_TYPES)}, integer")
        if name == "pattern":
            _compiled(rule)
        inner: list[Any] = []
        if name == "properties":
            inner = list(rule.values())
        elif name in ("items", "additionalProperties", "not"):
            inner = [rule]
        elif name in ("anyOf", "allOf"):
            inner = list(rule)
        for each in inner:
            check_schema(each, f"{name} of {where}")


def _is(value: Any, name: str) -> bool:
    if name == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _same(one: Any, other: Any) -> bool:
    # JSON tells true from 1, Python does not.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _extra(value: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Any]:
    return [each for name, each in value.items() if name not in schema.get("properties", {})]


# What each keyword asks of a value; most ask nothing of values of another type.
_CHECKS: Mapping[str, Callable[[Any, Any, Mapping[str, Any]], bool]] = {
    "type": lambda v, rule, _: any(_is(v, name) for name in ([rule] if isinstance(rule, str) else rule)),
    "enum": lambda v, rule, _: any(_same(v, each) for each in rule),
    "const": lambda v, rule, _: _same(v, rule),
    "properties": lambda v, rule, _: (
        not isinstance(v, dict) or all(valid(v[name], inner) for name, inner in rule.items() if name in v)
    ),
    "required": lambda v, rule, _: not isinstance(v, dict) or set(rule) <= v.keys(),
    "additionalProperties": lambda v, rule, schema: (
        not isinstance(v, dict) or all(valid(each, rule) for each in _extra(v, schema))
    ),
    "items": lambda v, rule, _: not isinstance(v, list) or all(valid(each, rule) for each in v),
    "minItems": lambda v, rule, _: not isinstance(v, list) or len(v) >= rule,
    "maxItems": lambda v, rule, _: not isinstance(v, list) or len(v) <= rule,
    "minLength": lambda v, rule, _: not isinstance(v, str) or len(v) >= rule,
    "maxLength": lambda v, rule, _: not isinstance(v, str) or len(v) <= rule,
    "pattern": lambda v, rule, _: not isinstance(v, str) or bool(_compiled(rule).search(v, timeout=1.0)),
    "minimum": lambda v, rule, _: not _is(v, "number") or v >= rule,
    "maximum": lambda v, rule, _: not _is(v, "number") or v <= rule,
    "exclusiveMinimum": lambda v, rule, _: not _is(v, "number") or v > rule,
    "exclusiveMaximum": lambda v, rule, _: not _is(v, "number") or v < rule,
    "anyOf": lambda v, rule, _: any(valid(v, each) for each in rule),
    "allOf": lambda v, rule, _: all(valid(v, each) for each in rule),
    "not": lambda v, rule, _: not valid(v, rule),
}


def _compiled(pattern: str) -> "regex.Pattern[str]":
    try:
        return regex.compile(pattern)
    except (regex.error, TypeError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
