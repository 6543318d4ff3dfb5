"""Rows as a file: JSON Lines, or a table for a spreadsheet (.csv).

In a table every cell is text, a number or nothing: a conversation is its turns, what has parts is spread over columns.
A text that a spreadsheet would take for a formula begins with an apostrophe: what annotators and models write is never
run. A table is for people; what is to be read again is JSON Lines.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from foundation.files import Row, write_jsonl, write_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def write(path: Path, rows: Iterable[Row]) -> int:
    """Write the rows, whole or not at all; returns how many. For a table they are gone through twice."""
    if path.suffix.lower() != ".csv":
        return write_jsonl(path, rows)
    columns = list(dict.fromkeys(name for row in rows for name in _cells(row)))
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        yield "\ufeff" + table_line(columns)  # the mark tells spreadsheets that this is UTF-8
        for row in rows:
            number += 1
            cells = _cells(row)
            yield table_line([cells.get(name) for name in columns])

    write_text(path, lines())
    return number


def _cells(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The row's values by column; the places of a list are counted from 1."""
    cells: dict[str, Any] = {}
    for name, value in row.items():
        column = f"{prefix}{name}"
        if isinstance(value, list) and value and all(isinstance(each, dict) and "role" in each for each in value):
            cells[column] = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in value)
        elif isinstance(value, list) and not any(isinstance(each, dict | list) for each in value):
            cells |= {f"{column} {place}": each for place, each in enumerate(value, start=1)}
        elif isinstance(value, list):
            cells[column] = json.dumps(value, ensure_ascii=False)
        elif isinstance(value, dict):
            cells |= _cells(value, f"{column}.")
        else:
            cells[column] = value
    return cells


def _cell(value: object) -> object:
    guarded = isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA)
    return f"'{value}" if guarded else value


def table_line(cells: Iterable[object]) -> str:
    """A line of a table, in which no cell is a formula."""
    text = io.StringIO()
    csv.writer(text).writerow([_cell(cell) for cell in cells])
    return text.getvalue()
