"""Values of a record: whole numbers, yes and no, names of people, texts, each also as a cell of a table holds them."""

import json
import math
from typing import Any

from labeling_ui.exchange.importers.judged_items import Refused, brief

_BOOLS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def text(row: dict[str, Any], name: str) -> str:
    """The text of a field, which must be there."""
    found = given(row, name)
    if not isinstance(found, str):
        raise Refused(f'the field "{name}" must be a string, found {type(found).__name__}')
    return found


def given(row: dict[str, Any], name: str) -> Any:
    """The value of a field, which must be there."""
    if row.get(name) is None:
        raise Refused(f'the field "{name}" is missing')
    return row[name]


def listed(row: dict[str, Any], name: str) -> list[Any]:
    """The list of a field, which some files carry as JSON inside a string."""
    found = given(row, name)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            raise Refused(f'the field "{name}" is a string, but not JSON') from None
    if not isinstance(found, list):
        raise Refused(f'the field "{name}" must be a list, found {type(found).__name__}')
    return found


def number(value: Any, what: str) -> float:
    """A finite number."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise Refused(f"{what} {brief(value)} is not a number")
    return found


def whole(value: Any, what: str) -> int:
    """A whole number; 4.0 is 4."""
    found = number(value, what)
    if found != int(found):
        raise Refused(f"{what} {brief(value)} is not a whole number")
    return int(found)


def yes_or_no(value: Any, what: str) -> bool:
    """True or false, also as 1 and 0."""
    found = _BOOLS.get(str(value).strip().lower())
    if found is None:
        raise Refused(f"{what} {brief(value)} is neither true nor false")
    return found


def flag(row: dict[str, Any], name: str) -> bool | None:
    """What a field of true and false says; None where it is empty."""
    said = row.get(name)
    if said is None or said == "" or said != said:  # the last: NaN, a table's empty cell
        return None
    return yes_or_no(said, name)


def name_of(value: Any) -> str | None:
    """Who somebody is: a person may be called 0. None if nobody is named."""
    if value is None or value == "" or value != value:  # the last: NaN, a table's empty cell
        return None
    if isinstance(value, float) and value.is_integer():  # tables turn the numbers of people into these
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Refused(f"the annotator {brief(value)} is neither a name nor a number")
    return " ".join(str(value).split()) or None
