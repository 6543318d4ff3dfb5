"""The part of JSON Schema 2020-12 that the reward "format" understands: objects, lists, numbers and strings.

A schema that uses a keyword outside `_CHECKS` is refused, since ignoring a rule would let everything through.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import regex

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "number": (int, float), "boolean": bool, "null": type(None),
}  # fmt: skip
_NOTES = ("$schema", "$id", "title", "description", "examples", "default", "$comment")


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
            compiled(rule)
        inner: list[Any] = []
        if name == "properties":
            inner = list(rule.values())
        elif name in ("items", "additionalProperties", "not"):
            inner = [rule]
        elif name in ("anyOf", "allOf"):
            inner = list(rule)
        for each in inner:
            check_schema(each, f"{name} of {where}")


def compiled(pattern: str) -> "regex.Pattern[str]":
    """The regular expression; ValueError if it is none."""
    try:
        return regex.compile(pattern)
    except (regex.error, TypeError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error


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
    "pattern": lambda v, rule, _: not isinstance(v, str) or bool(compiled(rule).search(v, timeout=1.0)),
    "minimum": lambda v, rule, _: not _is(v, "number") or v >= rule,
    "maximum": lambda v, rule, _: not _is(v, "number") or v <= rule,
    "exclusiveMinimum": lambda v, rule, _: not _is(v, "number") or v > rule,
    "exclusiveMaximum": lambda v, rule, _: not _is(v, "number") or v < rule,
    "anyOf": lambda v, rule, _: any(valid(v, each) for each in rule),
    "allOf": lambda v, rule, _: all(valid(v, each) for each in rule),
    "not": lambda v, rule, _: not valid(v, rule),
}
