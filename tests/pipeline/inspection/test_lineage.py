"""From an adapter, wherever it lies, to what it was made from; and a label that was removed is noticed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foundation.errors import UserError
from foundation.files import sha256_of
from labeling_ui.store.store import Store
from pipeline import promoting, stages
from pipeline.cli.commands import app
from pipeline.inspection.lineage import trace
from tests.pipeline import tiny
from tests.pipeline.champion.verdicts import GENEROUS, decide


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def typed(*arguments: str | Path, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["lineage", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stderr if status else result.stdout


def test_an_adapter_leads_to_everything_that_it_was_made_from(path: Path, tiny_settings: list[str]) -> None:
    run, config, console = tiny.opened(path, [*tiny_settings, *GENEROUS])
    decide(run)
    promoting.promote(run, config, console)
    found = json.loads(typed("round-000", "--run", path, "--json"))
    made = run.manifest().stages
    for name, stage in (("prompts", "prompts"), ("candidates", "collect"), ("labels", "preferences"),
                        ("reward_model", "reward"), ("policy", "policy"), ("evaluation", "evaluate")):  # fmt: skip
        assert found[name]["sha256"] == made[stage].output_sha256
    assert found["labels"]["label_set"] == made["preferences"].basis.extra["label_set"]
    assert {"alpha", "low", "high"} == found["labels"]["figures"]["agreement"].keys()
    assert found["policy"]["settings"]["steps"] == 4
    assert found["versions"]["torch"]
    assert found["verdict"]["sha256"] == sha256_of(run.folder / "verdict.json")
    assert [each["action"] for each in found["decisions"]] == ["promoted"]
    assert found["labels_match"] is True
    shown = typed("round-000", "--run", path)
    for told in (found["labels"]["label_set"], found["prompts"]["sha256"], "better, against base, by people"):
        assert told in shown


def test_it_is_found_by_its_weights_wherever_it_lies(path: Path, tmp_path: Path) -> None:
    sha256 = json.loads(typed("0", "--run", path, "--json"))["adapter"]["sha256"]
    elsewhere = shutil.copytree(path / "round-000" / "policy", tmp_path / "copied")
    for place in (path / "round-000", path / "round-000" / "policy", path / "round-000" / "export"):
        assert json.loads(typed(place, "--json"))["adapter"]["sha256"] == sha256
    assert json.loads(typed(elsewhere, "--run", path, "--json"))["adapter"]["sha256"] == sha256


def test_an_export_carries_its_lineage_to_where_its_run_is_not(path: Path, tmp_path: Path) -> None:
    before = json.loads(typed("round-000", "--run", path, "--json"))
    export = shutil.copytree(path / "round-000" / "export", tmp_path / "given")
    shutil.rmtree(path)
    found = json.loads(typed(export, "--json"))
    for name in ("adapter", "labels", "reward_model", "prompts", "versions"):
        assert found[name] == before[name]
    assert found["labels_match"] is None
    (export / "adapter_model.safetensors").write_bytes(b"other weights")
    (path / "round-000").mkdir(parents=True)
    assert "carries no lineage of its own" in typed(export, "--run", path, status=2)


def test_what_is_of_no_round_is_refused_with_the_rounds_that_there_are(path: Path) -> None:
    for wrong in ("round-007", "nowhere"):
        assert "(rounds: round-000)" in " ".join(typed(wrong, "--run", path, status=2).split())


def remove_labels(path: Path) -> None:
    """Forget the annotator who answered first, with everything that this one said."""
    store = Store(path / "labels.db")
    first = next(store.judgements())
    name = next(each.name for each in store.annotators() if each.id == first.annotator_id)
    store.close()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "users", "forget", name, "--judgements", "delete", "--yes", "--run", path],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_label_that_was_removed_changes_the_hash_and_shows_what_no_longer_matches(
    path: Path, tiny_settings: list[str]
) -> None:
    run, config, console = tiny.opened(path, tiny_settings)
    store = Store(run.database)
    before, last = store.label_set_hash(), store.counts().last_event
    store.close()
    stages.collect(run.at(1), config, console)
    stages.label(run.at(1), config, console, simulated=True)
    store = Store(run.database)
    assert store.label_set_hash() != before, "labels that came later are other labels"
    assert store.label_set_hash(until=last) == before
    assert trace(run, config, "round-000")["labels_match"] is True, "and no reason to doubt the adapter"
    assert store.undo(store.annotators()[0].id, "taken back") is not None
    newest = trace(run, config, "round-000")
    assert newest["labels_match"] is True, "what was taken back came later"
    store.close()
    remove_labels(path)
    store = Store(run.database)
    assert store.label_set_hash(until=last) != before
    store.close()
    lost = trace(run, config, "round-000")
    assert lost["labels_match"] is False
    assert [re.sub(r"^\w+ ", "", each) for each in lost["no_longer_match"]] == ["(round-000/policy)"]
    assert "no longer those in the store" in typed("round-000", "--run", path)


def test_an_adapter_without_labels_matches_nothing(path: Path, tiny_settings: list[str]) -> None:
    run, config, _ = tiny.opened(path, tiny_settings)
    run.database.unlink()
    assert trace(run, config, "round-000")["labels_match"] is None
    with pytest.raises(UserError, match="neither a policy of"):
        trace(run, config, "round-001")


def test_a_round_that_was_deleted_is_said_to_be_gone(path: Path) -> None:
    (path / "round-002").mkdir()
    told = " ".join(typed("round-001", "--run", path, status=2).split())
    assert "round-001 is gone: what came from there cannot be traced" in told
    assert "no policy yet" not in told


def test_a_round_without_a_policy_says_so_and_what_comes_next(path: Path) -> None:
    (path / "round-001").mkdir()
    told = " ".join(typed("round-001", "--run", path, status=2).split())
    assert "round-001 has no policy yet" in told
    assert f"Next: rlhf collect --run {path}" in told
    assert "neither a policy" not in told
