"""Exports as files: JSON Lines as they are, and tables that a spreadsheet can only show."""

import csv
import json
from pathlib import Path

import pytest

from foundation.files import Row
from labeling_ui.exchange.exports.files import write

ROWS: list[Row] = [
    {
        "prompt": [{"role": "user", "content": "=HYPERLINK(1)"}, {"role": "assistant", "content": "no"}],
        "responses": ["+1 for me", " =2+2", "plain"],
        "answer": {"verdict": "rated", "ratings": {"clear": [3]}, "rationale": '@SUM(A1)\nsays, "she"'},
        "seconds": -1.5,
        "in_force": True,
        "sources": [{"model": "m"}],
    },
    {"prompt": [], "responses": ["é ✓"], "answer": {"verdict": "tie"}, "seconds": None, "=cmd": "x"},
]


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_a_column_for_every_part_and_loses_no_row(tmp_path: Path) -> None:
    assert write(tmp_path / "rows.csv", ROWS) == 2
    first, second = cells(tmp_path / "rows.csv")
    assert (first["answer.verdict"], first["answer.ratings.clear 1"], first["in_force"]) == ("rated", "3", "True")
    assert (first["responses 3"], second["responses 1"], second["responses 3"]) == ("plain", "é ✓", "")
    assert json.loads(first["sources"]) == [{"model": "m"}]
    assert (first["seconds"], second["seconds"]) == ("-1.5", ""), "a number is no formula"


def test_nothing_in_a_table_is_a_formula(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", ROWS)
    for row in cells(tmp_path / "rows.csv"):
        for name, value in row.items():
            if name != "seconds":
                assert not value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")), (name, value)
            assert not name.startswith("=")
    assert cells(tmp_path / "rows.csv")[0]["answer.rationale"] == '\'@SUM(A1)\nsays, "she"'


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    def rows():  # type: ignore[no-untyped-def]
        yield ROWS[0]
        raise RuntimeError("the power went")

    for name in ("rows.csv", "rows.jsonl"):
        with pytest.raises(RuntimeError):
            write(tmp_path / name, rows())
    assert list(tmp_path.iterdir()) == []
