"""A finished run, with what it was made from moved, changed or taken away."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from backbone.adapter_folder import WEIGHTS
from foundation.files import read_json, sha256_of, write_json, write_jsonl
from pipeline import stages
from pipeline.cli.commands import app
from pipeline.runs.folder import Run
from pipeline.runs.manifest import Manifest
from tests.pipeline import tiny
from tests.pipeline.runs.test_content import flip_last_byte
from tests.pipeline.test_stages import MADE


@pytest.fixture
def moved(finished: Path, tiny_settings: list[str], tiny_model: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of the run, with its model and its prompts file copied under other names."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(tiny_model, tmp_path / "renamed")
    prompts = tiny.prompts_file(tmp_path / "renamed.jsonl")
    return tmp_path / "run", [*tiny_settings, f"model={tmp_path}/renamed/", f"collect.prompts={prompts}"]


def test_a_copied_run_is_done_wherever_its_model_and_its_prompts_lie(moved: tuple[Path, list[str]]) -> None:
    run, config, console = tiny.opened(*moved)
    stages.loop(run, config, console, simulated=True)
    shown = tiny.printed(console)
    assert [name for name in MADE if f"{name}: already done" not in shown] == []


def test_a_model_overwritten_in_place_is_seen_by_every_stage_that_uses_it(moved: tuple[Path, list[str]]) -> None:
    flip_last_byte(moved[0].parent / "renamed" / "model.safetensors")
    run, config, console = tiny.opened(*moved)
    stages.loop(run, config, console, simulated=True)
    shown = tiny.printed(console)
    again = ["collect", "reward", "policy", "evaluate", "export"]
    assert [name for name in again if f"{name}: made anew because model changed" not in shown] == []


def typed(command: str, run: Path, overrides: list[str]) -> str:
    """What the command prints on the run."""
    set_ = [part for each in overrides for part in ("--set", each)]
    result = CliRunner().invoke(app, [command, "--run", str(run), *set_])
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


def card(run: Path) -> str:
    return (run / "round-000" / "export" / "README.md").read_text()


# --- prompts that are added later ---


def test_a_held_out_prompt_that_is_added_makes_the_evaluation_anew_and_nothing_before_it(
    moved: tuple[Path, list[str]],
) -> None:
    run, settings = moved
    file = run.parent / "renamed.jsonl"
    write_jsonl(file, [*tiny.rows(file), {"prompt": tiny.ask("tell me of the sea"), "split": "held_out"}])
    assert "evaluate: made anew because round-000/prompts.jsonl changed." in typed("evaluate", run, settings)
    assert Run(run).record("evaluate").figures["n"] == 5  # type: ignore[union-attr]
    shown = typed("loop", run, settings)
    assert [name for name in ("prompts", "collect", "reward", "policy") if f"{name}: already done" not in shown] == []
    assert "export: made anew because round-000/evaluation.json changed; what is told changed." in shown


def test_a_prompt_that_was_tuned_on_is_not_evaluated_on(moved: tuple[Path, list[str]]) -> None:
    run, settings = moved
    file = run.parent / "renamed.jsonl"
    write_jsonl(file, [row | {"split": "held_out" if n < 2 else row["split"]} for n, row in enumerate(tiny.rows(file))])
    assert "2 held-out prompts are left out: the policy was tuned on them, or on" in typed("evaluate", run, settings)
    assert Run(run).record("evaluate").figures["n"] == 4  # type: ignore[union-attr]


def test_a_run_goes_on_with_its_prompts_if_their_file_is_not_there(moved: tuple[Path, list[str]]) -> None:
    run, settings = moved
    shutil.move(run.parent / "renamed.jsonl", run.parent / "elsewhere.jsonl")
    gone = [*settings, "collect.prompts=nowhere/prompts.jsonl"]  # the name that the run began with
    assert "the round keeps the prompts that it has" in typed("evaluate", run, gone)


# --- an export without an evaluation, or of nothing ---


def test_an_adapter_is_exported_without_an_evaluation_and_again_with_one(moved: tuple[Path, list[str]]) -> None:
    run, settings = moved
    evaluation = run / "round-000" / "evaluation.json"
    evaluation.rename(run / "kept.json")
    told = "This policy has not been evaluated"
    shown = typed("export", run, settings)
    assert f"export: {told}" in shown
    assert f"rlhf evaluate --run {run}" in shown
    assert told in card(run)
    assert "win rate" not in card(run)
    (run / "kept.json").rename(evaluation)
    assert "export: made anew because round-000/evaluation.json is now used" in typed("export", run, settings)
    assert told not in card(run)
    assert "win rate" in card(run)


def test_the_evaluation_of_another_policy_is_not_this_ones(moved: tuple[Path, list[str]]) -> None:
    run, settings = moved
    typed("policy", run, [*settings, "policy.steps=1"])
    shown = typed("export", run, [*settings, "policy.steps=1"])
    assert "not been evaluated: the one in evaluation.json was of another" in shown
    assert "win rate" not in card(run)
    typed("report", run, settings)
    assert "was of another" in (run / "report.html").read_text()


def test_an_adapter_that_equals_its_base_is_called_so_everywhere(moved: tuple[Path, list[str]]) -> None:
    run, settings = moved
    policy, path = run / "round-000" / "policy", run / "round-000" / "manifest.json"
    weights = load_file(policy / WEIGHTS)
    save_file({n: torch.zeros_like(w) if "lora_B" in n else w for n, w in weights.items()}, policy / WEIGHTS)
    manifest = Manifest.read(path)
    tuned = manifest.stages["policy"].model_copy(update={"output_sha256": sha256_of(policy)})
    manifest.stages["policy"] = tuned
    manifest.write(path)
    told = "The adapter equals its base"
    assert f"policy: {told}" in typed("policy", run, settings)
    same = "Policy and base gave the same response to every held-out prompt"
    assert f"evaluate: {same}" in typed("evaluate", run, settings)
    shown = typed("export", run, settings)
    assert f"export: {told}" in shown
    assert f"export: {same}" in shown
    assert f"report: {told}" in typed("report", run, settings)
    for page in (card(run), (run / "report.html").read_text()):
        assert told in page
        assert same in page


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["policy.learning_rate=1e-30"], "the policy had not moved from the base (a KL of 0)"),
        (
            ['rewards=[{"name": "length", "target": 8, "unit": "tokens", "weight": 0}]'],
            "all responses to a prompt had the same score",
        ),
    ],
)
def test_a_training_that_changed_nothing_says_so(
    moved: tuple[Path, list[str]], overrides: list[str], told: str
) -> None:
    run, settings = moved
    assert told in typed("policy", run, [*settings, "policy.steps=2", *overrides])


def test_a_reward_model_that_tells_nothing_apart_is_called_so(moved: tuple[Path, list[str]]) -> None:
    run, settings = moved
    told = "The reward model gives both responses of every held-out pair the same score"
    assert told not in typed("reward", run, settings)
    assert f"reward: {told}" in typed("reward", run, [*settings, "reward.learn=adapter", "reward.learning_rate=1e-30"])
    assert told not in typed("report", run, settings)  # what it is about was tuned towards another
    typed("policy", run, [*settings, "policy.accept_weak_reward=true"])
    assert told in typed("report", run, settings)


def test_a_judge_that_gives_one_score_to_all_says_nothing(moved: tuple[Path, list[str]]) -> None:
    run, settings = moved
    path = run / "round-000" / "evaluation.json"
    found = read_json(path)
    for mode in ("sampled", "greedy"):
        for pair in found[mode]["pairs"]:
            pair["scores"]["reward model"] = {"base": 0.0, "policy": 0.0}
    write_json(path, found)
    manifest = Manifest.read(run / "round-000" / "manifest.json")
    changed = manifest.stages["evaluate"].model_copy(update={"output_sha256": sha256_of(path)})
    manifest.stages["evaluate"] = changed
    manifest.write(run / "round-000" / "manifest.json")
    assert "The reward model gave every response the same score" in typed("export", run, settings)
    assert "The reward model gave every response the same score" in card(run)
