"""What an output depends on: its settings, and the content of its inputs wherever they lie."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from foundation.files import sha256_of
from pipeline.runs.fingerprint import Basis
from pipeline.runs.folder import Run
from tests.pipeline.runs.outputs import must_not_run, write_adapter, write_pairs


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"config": {"epochs": 2}}, "epochs was 1, is 2"),
        ({"extra": {"label_set": "new"}}, "label_set was old, is new"),
        ({"seed": 8}, "seed was 7, is 8"),
        ({"prompt": "another"}, "prompts.jsonl changed"),
    ],
)
def test_a_change_makes_a_stage_anew_and_keeps_the_old(
    run: Run, prompts: Path, said: list[str], change: dict[str, Any], why: str
) -> None:
    old = run.stage("reward", "reward", [prompts], {"epochs": 1}, write_adapter, extra={"label_set": "old"})
    prompts.write_text(change.get("prompt", "a prompt"))
    run.seed = change.get("seed", 7)

    def write_other(partial: Path) -> Mapping[str, Any]:
        (partial / "other.bin").write_text("newly trained")
        return {}

    run.stage(
        "reward",
        "reward",
        [prompts],
        change.get("config", {"epochs": 1}),
        write_other,
        extra=change.get("extra", {"label_set": "old"}),
    )
    assert why in said[-1]
    assert [p.name for p in (run.folder / "reward").iterdir()] == ["other.bin"]
    aside = run.folder / "superseded" / "reward-1"
    assert sha256_of(aside) == old.output_sha256
    assert run.manifest().superseded == [old.model_copy(update={"output": "superseded/reward-1"})]


@pytest.mark.parametrize("change", ["copied", "spelled otherwise", "moved", "older manifest"])
def test_where_an_input_or_the_run_lies_makes_no_difference(
    run: Run, prompts: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    run.stage("label", "pairs.jsonl", [prompts], {}, write_pairs)
    run.stage("reward", "reward", [run.folder / "pairs.jsonl", prompts], {"epochs": 1}, write_adapter)
    if change == "copied":
        run = Run(shutil.copytree(run.path, prompts.parent / "elsewhere" / "copy"), seed=7)
    elif change == "spelled otherwise":
        monkeypatch.chdir(prompts.parent)
        run, prompts = Run(Path("runs/../runs/mine"), seed=7), Path("prompts.jsonl")
    elif change == "moved":
        (prompts.parent / "data").mkdir()
        prompts = prompts.rename(prompts.parent / "data" / "prompts.jsonl")
    else:  # which named inputs outside the run by their whole path
        text = run.manifest_path.read_text().replace('"prompts.jsonl"', json.dumps(str(prompts)))
        run.manifest_path.write_text(text)
    assert run.stage("label", "pairs.jsonl", [prompts], {}, must_not_run).skipped
    assert run.stage("reward", "reward", [run.folder / "pairs.jsonl", prompts], {"epochs": 1}, must_not_run).skipped


def test_inputs_of_the_same_name_are_told_apart(run: Run, prompts: Path) -> None:
    other = prompts.parent / "data" / "prompts.jsonl"
    other.parent.mkdir()
    other.write_text("another prompt")
    run.stage("label", "pairs.jsonl", [prompts, other], {}, write_pairs)
    other.write_text("changed")
    assert not run.stage("label", "pairs.jsonl", [prompts, other], {}, write_pairs).skipped
    prompts.write_text("changed as well")
    assert not run.stage("label", "pairs.jsonl", [prompts, other], {}, write_pairs).skipped


def test_an_input_that_was_not_used_before_is_not_called_changed() -> None:
    old = Basis(
        stage="policy", inputs={"round-000/preferences.jsonl": "a", "prompts.jsonl": "b"}, extra={}, config={}, seed=0
    )
    new = old.model_copy(update={"inputs": {"round-000/reward": "c", "prompts.jsonl": "d"}})
    assert new.changes_since(old) == [
        "prompts.jsonl changed",
        "round-000/reward is now used",
        "round-000/preferences.jsonl is no longer used",
    ]


def test_an_adapter_to_start_from_counts_by_its_content_alone() -> None:
    def started(name: str, digest: str) -> Basis:
        inputs = {"round-000/prompts.jsonl": "a", Path(name).name: digest}
        return Basis(stage="policy", inputs=inputs, extra={}, config={"initial": name, "steps": 2}, seed=0)

    assert started("adapters/first", "b").same_as(started("/mnt/copied/renamed", "b"))
    assert not started("adapters/first", "b").same_as(started("adapters/first", "c"))
