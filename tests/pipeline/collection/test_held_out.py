"""Labels of held-out prompts: nothing that is fitted sees them, and nothing is judged on what was learned from."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import UserError
from foundation.files import read_json, read_rows, sha256_of, write_json, write_jsonl
from pipeline import stages
from pipeline.acquisition.choice import Chooser
from pipeline.acquisition.features import Features
from pipeline.collection.held_out import held_out, rewarded_on, tuned_on
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store
from reward_model.labels.records import prompt_key
from reward_model.labels.splits import HeldOut, trained_on
from tests.pipeline import tiny


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def split_after(training: int, path: Path) -> str:
    """The setting of a prompts file, with the same prompts, that trains on so many of them alone."""
    rows = [
        {"prompt": tiny.ask(f"tell me of the {topic}"), "split": "train" if number < training else "held_out"}
        for number, topic in enumerate(tiny.TOPICS)
    ]
    write_jsonl(path, rows)
    return f"collect.prompts={path}"


def labelled(run: Run) -> set[str]:
    return {prompt_key(row["prompt"]) for row in read_rows(run.folder / "preferences.jsonl")}


def test_no_reward_model_learns_from_prompts_that_were_held_out_after_they_were_labelled(
    copied: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    settings = [*tiny_settings, split_after(12, tmp_path / "moved.jsonl"), "verdict.enabled=false"]
    run, config, console = tiny.opened(copied, settings)
    stages.loop(run, config, console, simulated=True)
    kept_out = held_out(run).prompts
    assert len(kept_out & labelled(run)) == 8
    reward = read_json(run.folder / "reward" / "reward.json")
    kept = [row for row in read_rows(run.folder / "preferences.jsonl") if prompt_key(row["prompt"]) not in kept_out]
    assert reward["training_pairs"] + reward["training_ties"] + reward["n"] <= len(kept)
    learned = trained_on(run.folder / "reward")
    assert learned
    assert not learned & kept_out
    shown = tiny.printed(console)
    assert "labels of 8 held-out prompts are left out: nothing is trained on those prompts, nor" in shown
    assert "reward: made anew because" in shown
    asked = {prompt_key(pair["prompt"]) for pair in read_json(run.folder / "evaluation.json")["sampled"]["pairs"]}
    assert asked == kept_out  # the policy was made anew too, on what is left to train on
    run, config, console = tiny.opened(copied, settings)
    assert stages.reward(run, config, console).skipped


def test_a_reward_model_learns_again_from_prompts_that_are_no_longer_held_out(
    copied: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    held = [*tiny_settings, split_after(12, tmp_path / "moved.jsonl")]
    run, config, console = tiny.opened(copied, held)
    stages.reward(run, config, console)
    run, config, console = tiny.opened(copied, tiny_settings)
    assert not stages.reward(run, config, console).skipped
    assert "held-out prompts are left out" not in tiny.printed(console)


def test_labels_of_held_out_prompts_alone_are_refused(copied: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    rows = read_rows(Path(next(each for each in tiny_settings if each.startswith("collect.prompts=")).split("=")[1]))
    other = {"prompt": tiny.ask("tell me of the sea"), "split": "train"}
    write_jsonl(tmp_path / "moved.jsonl", [*(row | {"split": "held_out"} for row in rows), other])
    run, config, console = tiny.opened(copied, [*tiny_settings, f"collect.prompts={tmp_path / 'moved.jsonl'}"])
    with pytest.raises(UserError, match=r"all judgements in .* are of prompts that are held out"):
        stages.reward(run, config, console)


def test_the_split_of_imported_labels_prompts_stays_the_reward_models_own(
    copied: Path, tiny_settings: list[str]
) -> None:
    run, config, console = tiny.opened(copied, [*tiny_settings, "collect.prompts=labels"])
    stages.reward(run, config, console)
    assert read_json(run.folder / "reward" / "reward.json")["n"] > 0
    stages.policy(run, config, console)
    stages.evaluate(run, config, console)
    assert "are left out" not in tiny.printed(console)


def test_the_head_of_a_chooser_does_not_see_them(copied: Path, tiny_settings: list[str]) -> None:
    run, config, _ = tiny.opened(copied, tiny_settings)
    candidates = {row["id"]: row for row in read_rows(run.folder / "candidates.jsonl")}
    known: dict[str, int] = {}
    prompts = np.array([known.setdefault(row["prompt_id"], len(known)) for row in candidates.values()])
    states = np.random.default_rng(0).standard_normal((len(candidates), 4)).astype(np.float32)
    features = Features(list(candidates), prompts, states)
    with label_store(run, config) as store:
        everything = Chooser.after("variance", features, store, 0).head.n
        some = {prompt_key(row["prompt"]) for row in list(candidates.values())[:9]}
        assert 0 < Chooser.after("variance", features, store, 0, HeldOut(frozenset(some))).head.n < everything


def test_dpo_counts_a_prompt_that_was_added_as_held_out_and_had_labels(
    copied: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    rows = read_rows(Path(next(each for each in tiny_settings if each.startswith("collect.prompts=")).split("=")[1]))
    dpo = [*tiny_settings, "policy.algorithm=dpo", f"collect.prompts={tmp_path / 'some.jsonl'}"]
    write_jsonl(tmp_path / "some.jsonl", rows[1:])  # the first was labelled, and is not in the file
    run, config, console = tiny.opened(copied, dpo)
    stages.policy(run, config, console)
    first = prompt_key(rows[0]["prompt"])
    assert first in tuned_on(run)
    write_jsonl(tmp_path / "some.jsonl", [*rows[1:], rows[0] | {"split": "held_out"}])
    run, config, console = tiny.opened(copied, dpo)
    stages.evaluate(run, config, console)
    assert "1 held-out prompts are left out: the policy was tuned on them, or" in tiny.printed(console)
    assert not stages.policy(run, config, console).skipped
    assert "policy: " in tiny.printed(console)
    assert "of 1 held-out prompts are left out: nothing is trained on those prompts, nor" in tiny.printed(console)
    assert first not in tuned_on(run)


@pytest.mark.parametrize("says", [True, False])
def test_nothing_is_evaluated_on_what_the_reward_model_was_trained_on(
    copied: Path, tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: bool
) -> None:
    run, config, console = tiny.opened(copied, tiny_settings)
    if not says:  # as reward folders of earlier versions
        _forget(run)
    learned = rewarded_on(run)
    assert 10 < len(learned) < 20
    monkeypatch.setattr("pipeline.collection.held_out.tuned_on", lambda run: set())
    run, config, console = tiny.opened(copied, [*tiny_settings, split_after(12, tmp_path / "moved.jsonl")])
    stages.evaluate(run, config, console)
    moved = held_out(run).prompts
    asked = {prompt_key(pair["prompt"]) for pair in read_json(run.folder / "evaluation.json")["sampled"]["pairs"]}
    assert asked == moved - learned
    count = len(moved & learned)
    assert f"{count} held-out prompts are left out: the reward model was trained on them, or" in tiny.printed(console)


def _forget(run: Run) -> None:
    (run.folder / "reward" / "trained_on.json").unlink()
    manifest = read_json(run.manifest_path)
    manifest["stages"]["reward"]["output_sha256"] = sha256_of(run.folder / "reward")
    write_json(run.manifest_path, manifest)
