"""`rlhf labels export --kind answers` and `rlhf import --format answers`: labels go from one run to another."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labeling_ui.store.store import Store
from pipeline.cli.commands import app
from tests.labeling_ui.filling import fill, outstanding


def rlhf(*arguments: str | Path, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output.replace("\n", "")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    store = Store(tmp_path / "run" / "labels.db")
    fill(store, 4)
    outstanding(store, store.annotator("Ann").id)
    store.close()
    return tmp_path / "run"


def label_set(run: Path) -> str:
    store = Store(run / "labels.db")
    found = store.label_set_hash()
    store.close()
    return found


def test_labels_move_to_another_run(run: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "answers.jsonl", tmp_path / "other"
    assert "4 rows of answers" in rlhf("labels", "export", file, "--kind", "answers", "--run", run)
    assert "4 judgements taken, 0 were there" in rlhf("import", "--format", "answers", file, "--run", other)
    assert "0 judgements taken, 4 were there" in rlhf("import", "--format", "answers", file, "--run", other)
    assert label_set(other) == label_set(run)
    assert "without --gold" in rlhf("import", "--format", "answers", "--gold", file, "--run", other, status=2)
    newer = json.loads(file.read_text().splitlines()[0]) | {"answers": 9}
    file.write_text(json.dumps(newer))
    output = rlhf("import", "--format", "answers", file, "--run", tmp_path / "third", status=2)
    assert "line 1: these answers are in layout 9, written by a newer rlhf-pipeline" in output


def test_answers_become_a_table(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    rlhf("labels", "export", file, "--kind", "answers", "--run", run)
    with file.open(encoding="utf-8-sig", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["answer.verdict"] for row in rows] == ["tie"] * 4
    assert {row["responses 1"] for row in rows} <= {"a good answer", "a bad answer"}
