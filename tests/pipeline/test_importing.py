"""`rlhf import` as it is typed: what is shown first, how it ends, and responses that wait for their judges."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from foundation.errors import UserError
from labeling_ui.data_model import Annotator
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from pipeline import stages
from pipeline.cli.commands import app
from pipeline.config.config import load_config
from pipeline.importing import ImportOptions, columns_of
from tests.pipeline import tiny

INSTRUCTED = [{"instruction": f"Why {n}?", "chosen": "The rain.", "rejected": "The sun."} for n in range(4)]
ANSWERED = [
    {"prompt": "Why?", "response": "Rain.", "model": "gpt"},
    {"prompt": "Who?", "response_a": "You.", "response_b": "Me.", "model_a": "gpt", "model_b": "ours"},
    {"prompt": "Why?", "response": "Sun.", "model": "ours"},
    {"prompt": "How?", "responses": ["So.", {"text": "Thus.", "model": "ours"}, ""]},
    {"prompt": "Alone?", "response": "Yes."},
]


def rlhf(*arguments: str | Path, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in ("import", *arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_a_dry_run_shows_what_would_be_taken_and_stores_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "file", [*INSTRUCTED, {"instruction": "x"}])
    said = rlhf(file, "--format", "trl", "--map", "prompt=instruction", "--dry-run", "--run", tmp_path / "run")
    for line in ("columns: prompt = instruction, chosen, rejected", "user: Why 0?", "response 1: The rain.",
                 "trl (imported): prefers response 1", "4 judgements would be taken; 1 refused", "nothing was stored",
                 'line 5: the field "chosen" is missing'):  # fmt: skip
        assert line in said
    assert not (tmp_path / "run" / "labels.db").exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_an_import_that_takes_nothing_ends_with_2_and_says_why(tmp_path: Path, dry: tuple[str, ...]) -> None:
    file, report = write(tmp_path / "file", INSTRUCTED), tmp_path / "refused.jsonl"
    said = rlhf(file, "--format", "trl", "--run", tmp_path / "run", "--report", report, *dry, status=2)
    assert "--map prompt=instruction" in said
    assert "nothing of" in said
    assert [row["line"] for row in tiny.rows(report)] == [1, 2, 3, 4]


def test_a_run_that_an_import_begins_keeps_its_settings_but_the_campaign(tmp_path: Path) -> None:
    run, pairs = tmp_path / "run", [{"prompt": f"Why {n}?", "chosen": "Rain.", "rejected": "Sun."} for n in range(3)]
    settings = ("--set", "model=some/model", "--set", "reward.epochs=3", "--set", "label.name=first")
    given = write(tmp_path / "pairs", pairs), "--format", "trl", "--run", run, *settings
    rlhf(*given, "--dry-run")
    rlhf(write(tmp_path / "bad", [{"chosen": "a"}]), "--format", "trl", "--run", run, *settings, status=2)
    assert not (run / "config.yaml").exists(), "nothing was begun"
    rlhf(*given)
    kept = load_config(run / "config.yaml", environment={})
    assert (kept.model, kept.reward.epochs, kept.label.name) == ("some/model", 3, "main")
    rlhf(write(tmp_path / "more", INSTRUCTED), "--format", "trl", "--map", "prompt=instruction", "--run", run,
         "--set", "reward.epochs=1")  # fmt: skip
    assert load_config(run / "config.yaml", environment={}) == kept, "it is what later stages go by"


def test_what_is_there_already_is_no_failure(tmp_path: Path) -> None:
    options = ("--format", "trl", "--map", "prompt=instruction", "--run", tmp_path / "run")
    file = write(tmp_path / "file", INSTRUCTED)
    assert "4 judgements taken, 0 were there already" in rlhf(file, *options)
    assert "0 judgements taken, 4 were there already" in rlhf(file, *options)


def test_a_program_s_judgements_are_called_simulated(tmp_path: Path) -> None:
    file, run = write(tmp_path / "file", INSTRUCTED), tmp_path / "run"
    rlhf(file, "--format", "trl", "--map", "prompt=instruction", "--simulated", "--run", run)
    store = Store(run / "labels.db")
    assert [(each.name, each.simulated) for each in store.annotators()] == [("trl (imported, simulated)", True)]
    assert all(row["simulated"] for row in export(store, "preferences"))
    store.close()


def test_ratings_go_into_a_campaign_on_their_scale(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "response": "A", "score": 4.0, "scale": 5, "annotator": 0}]
    file, options = write(tmp_path / "file", rows), ("--format", "ratings", "--run", tmp_path / "run")
    told = rlhf(file, *options, "--set", "label.kind=rating", "--set", "label.name=seven", status=2)
    wanted = "--set label.name=scale5 --set label.kind=rating --set label.scale=5"
    assert wanted in told
    assert "1 judgements taken" in rlhf(file, *options, *wanted.split())


def test_what_is_said_of_a_file_is_checked() -> None:
    assert columns_of(["prompt=a, b", "margin=c.d"]) == {"prompt": ("a", "b"), "margin": ("c.d",)}
    for wrong in (["prompt"], ["prompt="], ["=a"], ["prompt=a", "prompt=b"]):
        with pytest.raises(UserError, match="--map"):
            columns_of(wrong)


def sources(store: Store) -> Mapping[str, Any]:
    return {candidate.response: candidate.source.get("model") for candidate in store.candidates()}


def test_responses_wait_for_their_judges_and_keep_what_wrote_them(tmp_path: Path) -> None:
    file, run = write(tmp_path / "file", ANSWERED), tmp_path / "run"
    assert "waits for its judges" in rlhf(file, "--format", "responses", "--dry-run", "--run", run)
    said = rlhf(file, "--format", "responses", "--run", run)
    assert "3 tasks taken, 0 were there already; 2 refused" in said
    assert "line 4: a response is empty" in said
    assert "line 5: there are not two different responses" in said
    store = Store(run / "labels.db")
    assert sources(store) == {
        "Rain.": "gpt", "Sun.": "ours", "You.": "gpt", "Me.": "ours", "So.": None, "Thus.": "ours",
    }  # fmt: skip
    assert store.waiting() == 3
    ann: Annotator = store.annotator("Ann")
    assert len(store.assignments(ann.id, 9)) == 3
    store.close()
    assert "0 tasks taken, 3 were there already" in rlhf(file, "--format", "responses", "--run", run)


def test_responses_wait_in_a_campaign_of_any_kind(tmp_path: Path) -> None:
    file, run = write(tmp_path / "file", ANSWERED), tmp_path / "run"
    for kind, tasks in (("rating", 7), ("ranking", 3)):
        said = rlhf(
            file, "--format", "responses", "--run", run, "--set", f"label.name={kind}", "--set", f"label.kind={kind}"
        )
        assert f"{tasks} tasks taken" in said
    assert "--gold" in rlhf(file, "--format", "responses", "--gold", "--run", run, status=2)


def test_the_loop_waits_for_them_and_collect_adds_its_own(tiny_model: Path, tmp_path: Path) -> None:
    overrides = [*tiny.settings(tiny_model, "auto"), "reward.held_out=0.3"]
    run, config, console = tiny.opened(tmp_path / "run", overrides)
    rows = [{"prompt": f"what of the {topic}?", "responses": ["sea", "sky"]} for topic in tiny.TOPICS]
    stages.import_labels(run, config, console, str(write(tmp_path / "file", rows)), ImportOptions("responses"))
    stages.loop(run, config, console)
    assert "wait for their judges" in tiny.printed(console)
    assert not run.record("collect")
    stages.collect(run, config, console)
    asked = {row["prompt"][0]["content"] for row in tiny.rows(run.folder / "candidates.jsonl")}
    assert asked <= {row["prompt"] for row in rows}
    store = Store(run.database)
    assert store.counts().tasks > len(rows)
    store.close()
