"""Labels from which nothing can be learned: too few, empty, equal, or without a preference."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foundation.files import write_jsonl
from pipeline.cli.commands import app
from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import refused


def hh(prompts: int, chosen: str = "yes", rejected: str = "no") -> list[dict[str, str]]:
    def talk(number: int, reply: str) -> str:
        return f"\n\nHuman: question {number}?\n\nAssistant: {reply}"

    return [{"chosen": talk(n, chosen), "rejected": talk(n, rejected)} for n in range(prompts)]


def test_too_few_labels_to_hold_any_out(tiny_settings: list[str], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "hh.jsonl", hh(1))
    run = tmp_path / "run"
    imported = ["import", "--run", str(run), "--format", "hh", str(tmp_path / "hh.jsonl")]
    result = CliRunner().invoke(app, imported)
    assert result.exit_code == 0
    assert "there is only one prompt" in result.stdout
    message = refused("reward", "--run", run, overrides=tiny_settings)
    assert "only 1 different conversations" in message
    assert "rlhf import" in message
    assert len(tiny.rows(run / "round-000" / "preferences.jsonl")) == 1


@pytest.mark.parametrize(("chosen", "rejected", "told"), [("", "no", "is empty"), ("no", "no", "the same")])
def test_empty_and_identical_responses_are_refused_by_line(
    tmp_path: Path, chosen: str, rejected: str, told: str
) -> None:
    write_jsonl(tmp_path / "hh.jsonl", [*hh(1), *hh(1, chosen, rejected)])
    imported = ["import", "--run", str(tmp_path / "run"), "--format", "hh", str(tmp_path / "hh.jsonl")]
    result = CliRunner().invoke(app, imported)
    assert result.exit_code == 0
    assert "1 judgements taken" in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("  line 2: "))
    assert told in line or "identical" in line


@pytest.mark.parametrize(
    ("chosen", "told"), [("", '"chosen" response is empty'), ("no", "both responses are the same")]
)
def test_pairs_that_compare_nothing_are_refused(finished: Path, tmp_path: Path, chosen: str, told: str) -> None:
    rows = [{"prompt": "question?", "chosen": reply, "rejected": "no"} for reply in ("yes", chosen)]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    reward = finished / "round-000" / "reward"
    message = refused("evaluate-reward", "--reward", reward, "--pairs", tmp_path / "pairs.jsonl")
    assert "pairs.jsonl, line 2: " in message
    assert told in message


def test_labels_that_prefer_nothing_are_nothing_to_learn_from(tiny_settings: list[str], tmp_path: Path) -> None:
    record = {"instruction": "Name a pet.", "input": "", "response1": "A cat.", "response2": "A dog."}
    tied = [record | {"idx": 0, "annotator1": 0, "annotator2": 0, "annotator3": 0}]
    (tmp_path / "pandalm.json").write_text(json.dumps(tied))
    imported = ["import", "--run", str(tmp_path / "run"), "--format", "pandalm", str(tmp_path / "pandalm.json")]
    assert CliRunner().invoke(app, imported).exit_code == 0
    assert "nothing to learn from" in refused("reward", "--run", tmp_path / "run", overrides=tiny_settings)
