"""Bad input on the command line: one clear message, exit status 2, and nothing that was made is lost.

Unknown fields and a run without labels are in `test_cli.py`, full disks in `test_run.py`; each package tests its own
messages. Here the whole way from the command to its exit status is walked.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from backbone.adapters import SharedBase
from foundation.files import sha256_of, write_jsonl
from pipeline.cli.commands import app
from reward_model.scorer import RewardScorer
from tests.conftest import make_tiny_model
from tests.pipeline import tiny

ADAPTER = "adapter_model.safetensors"
MADE = ("prompts.jsonl", "candidates.jsonl", "preferences.jsonl", "reward", "policy", "evaluation.json", "export")


def refused(*arguments: str | Path, overrides: list[str] | None = None) -> str:
    """The message of a command that must end with status 2."""
    set_ = [part for each in overrides or [] for part in ("--set", each)]
    result = CliRunner().invoke(app, [str(each) for each in (*arguments, *set_)])
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    message = result.stderr
    assert message.startswith("error: ")
    assert message.count("error: ") == 1
    return message


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to spoil."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def hashes(run: Path) -> dict[str, str]:
    return {name: sha256_of(run / "round-000" / name) for name in MADE if (run / "round-000" / name).exists()}


# --- prompts ---

GOOD = {"prompt": tiny.ask("fine"), "split": "train"}
PROMPTS = {
    "not JSON": ('{"prompt": ', "line 2: not valid JSON"),
    "not an object": ("[1]", "line 2: expected a JSON object"),
    "a missing field": ('{"promt": []}', 'line 2: the field "prompt" is missing'),
    "a field of another type": ('{"prompt": "fine"}', 'line 2: the field "prompt" must be a list'),
    "not UTF-8": ("\udcff", "line 2: not UTF-8"),
    "both splits": (json.dumps(GOOD | {"split": "held_out"}), "line 2: this prompt is in both splits"),
    "longer than the context": (
        json.dumps({"prompt": tiny.ask("far too long " * 60), "split": "train"}), "exceeds the context of 256",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROMPTS)
def test_a_bad_prompt_is_refused(case: str, tiny_settings: list[str], tmp_path: Path) -> None:
    line, told = PROMPTS[case]
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps(GOOD) + "\n" + line + "\n", errors="surrogateescape")
    message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, f"collect.prompts={file}"])
    assert told in message
    assert not (tmp_path / "run" / "round-000" / "candidates.jsonl").exists()


def test_a_prompts_file_that_is_not_there_is_named(tiny_settings: list[str], tmp_path: Path) -> None:
    overrides = [*tiny_settings, f"collect.prompts={tmp_path}/none.jsonl"]
    assert "none.jsonl, which does not exist" in refused("collect", "--run", tmp_path / "run", overrides=overrides)


def test_prompts_that_leave_no_room_for_a_response_are_counted(tiny_settings: list[str], tmp_path: Path) -> None:
    overrides = [*tiny_settings, "collect.max_prompt_tokens=5"]
    message = refused("collect", "--run", tmp_path / "run", overrides=overrides)
    assert "no train prompt is short enough: raise collect.max_prompt_tokens" in message


# --- labels ---


def hh(prompts: int, chosen: str = "yes", rejected: str = "no") -> list[dict[str, str]]:
    def talk(number: int, reply: str) -> str:
        return f"\n\nHuman: question {number}?\n\nAssistant: {reply}"

    return [{"chosen": talk(n, chosen), "rejected": talk(n, rejected)} for n in range(prompts)]


def test_too_few_labels_to_hold_any_out(tiny_settings: list[str], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "hh.jsonl", hh(1))
    run = tmp_path / "run"
    imported = ["import", "--run", str(run), "--format", "hh", str(tmp_path / "hh.jsonl")]
    assert CliRunner().invoke(app, imported).exit_code == 0
    message = refused("reward", "--run", run, overrides=tiny_settings)
    assert "only 1 different prompts" in message
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


# --- adapters and models ---


@pytest.mark.parametrize(
    ("gone", "command", "told"),
    [
        ("reward", "policy", "run `rlhf reward"),
        ("policy", "evaluate", "run `rlhf policy"),
        ("evaluation.json", "export", "run `rlhf evaluate"),
    ],
)
def test_what_a_stage_needs_and_lacks_is_named(
    run: Path, tiny_settings: list[str], gone: str, command: str, told: str
) -> None:
    lost = run / "round-000" / gone
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    before = hashes(run)
    message = refused(command, "--run", run, overrides=tiny_settings)
    assert str(lost) in message
    assert told in message
    assert hashes(run) == before


def test_an_adapter_that_was_put_in_the_place_of_the_runs_own(run: Path, tiny_settings: list[str]) -> None:
    shutil.copy(run / "round-000" / "reward" / ADAPTER, run / "round-000" / "policy" / ADAPTER)
    before = hashes(run)
    message = refused("evaluate", "--run", run, overrides=tiny_settings)
    assert "round-000/policy is not what the stage policy made" in message
    assert hashes(run) == before


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["policy.group=1"], "needs policy.group of at least 2; it is 1"),
        (["policy.algorithm=grpo", "policy.group=1"], "policy.algorithm=grpo compares responses to the same prompt"),
        (["policy.minibatches=3"], "policy.minibatches=3 does not divide the 8 responses of a step"),
        (["policy.kl_in=loss", "policy.kl_estimator=k1"], "has an expected gradient of zero"),
        (["policy.prompts_per_step=1000"], "there are only"),
        (["policy.initial=/nowhere"], "/nowhere"),
    ],
)
def test_a_policy_that_cannot_be_trained_is_refused_before_a_model_is_loaded(
    run: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch, overrides: list[str], told: str
) -> None:
    def load(*given: Any, **more: Any) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(SharedBase, "load", load)
    before = hashes(run)
    assert told in refused("policy", "--run", run, overrides=[*tiny_settings, *overrides])
    assert hashes(run) == before


def without_head(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({name: value for name, value in weights.items() if ".score." not in name}, folder / ADAPTER)


def with_new_head(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({n: torch.zeros_like(v) if ".score." in n else v for n, v in weights.items()}, folder / ADAPTER)


def cut_short(folder: Path) -> None:
    whole = (folder / ADAPTER).read_bytes()
    (folder / ADAPTER).write_bytes(whole[: len(whole) // 2])


def of_another_base(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({name: value[..., :-1].contiguous() for name, value in weights.items()}, folder / ADAPTER)


def not_a_number(folder: Path) -> None:
    weights = load_file(folder / ADAPTER)
    save_file({n: v * torch.nan if ".score." in n else v for n, v in weights.items()}, folder / ADAPTER)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (shutil.rmtree, "holds no reward model"),
        (without_head, "has no score head, so it is not a reward model"),
        (with_new_head, "newly initialised, not trained"),
        (cut_short, "is damaged"),
        (of_another_base, "does not fit"),
        (not_a_number, "no finite score for 2 of 2 samples (numbers 0, 1, from 0)"),
    ],
)
def test_a_reward_folder_that_cannot_be_used(
    finished: Path, tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    shutil.copytree(finished / "round-000" / "reward", tmp_path / "reward")
    spoil(tmp_path / "reward")
    rows = tmp_path / "rows.jsonl"
    write_jsonl(rows, [{"prompt": tiny.ask("question?"), "response": reply} for reply in ("yes", "no")])
    message = refused("score", rows, "--reward", tmp_path / "reward", "--out", tmp_path / "out", overrides=CPU)
    assert told in message
    assert not (tmp_path / "out").exists()


CPU = ["dtype=float32", "device=cpu"]


def test_a_policy_is_no_reward_model(finished: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "question?", "chosen": "yes", "rejected": "no"}])
    policy = finished / "round-000" / "policy"
    assert "no score head" in refused("evaluate-reward", "--reward", policy, "--pairs", tmp_path / "pairs.jsonl")


@pytest.mark.parametrize(
    ("field", "line"), [("prompt", '{"prompt": "text", "response": "x"}'), ("response", '{"prompt": []}')]
)
def test_malformed_rows_to_score_are_named(finished: Path, tmp_path: Path, field: str, line: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": tiny.ask("question?"), "response": "x"}) + f"\n{line}\n")
    reward = finished / "round-000" / "reward"
    message = refused("score", rows, "--reward", reward, "--out", tmp_path / "out", overrides=CPU)
    assert f'rows.jsonl, line 2: the field "{field}"' in message


def test_a_missing_adapter_cannot_be_merged(tmp_path: Path) -> None:
    assert "is not an adapter folder" in refused("merge", tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def shorten_weights(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (shorten_weights, "model.safetensors is cut short or damaged"),
        (lambda model: (model / "model.safetensors").unlink(), "has no *.safetensors weights"),
        (lambda model: (model / "config.json").unlink(), "is not a model folder: it has no config.json"),
        (shutil.rmtree, "is neither a folder nor a hub id"),
    ],
    ids=["weights cut short", "no weights", "no config", "no folder"],
)
def test_a_model_folder_that_is_not_whole(
    tiny_settings: list[str], tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    model = make_tiny_model(tmp_path / "model")
    spoil(model)
    message = refused("collect", "--run", tmp_path / "run", overrides=[*tiny_settings, f"model={model}"])
    assert told in message
    assert not (tmp_path / "run" / "round-000" / "candidates.jsonl").exists()


# --- not a number ---


def test_a_training_that_went_astray_names_the_step(run: Path, tiny_settings: list[str]) -> None:
    before = hashes(run)
    overrides = [*tiny_settings, "policy.learning_rate=1e30", "policy.steps=6", "policy.max_grad_norm=1e30"]
    message = refused("policy", "--run", run, overrides=overrides)
    assert "step 2: the model's logits are not finite" in message
    assert "lower learning rate" in message
    assert "last checkpoint is kept" in message
    assert hashes(run) == before


def test_a_score_that_is_not_a_number_keeps_the_last_checkpoint(
    run: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def spoiled(self: RewardScorer, *positional: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        scores, stds = original(self, *positional, **named)
        return scores * torch.nan if calls == 4 else scores, stds

    original = RewardScorer.score
    monkeypatch.setattr(RewardScorer, "score", spoiled)
    before = hashes(run)
    overrides = [*tiny_settings, "policy.steps=5"]
    message = refused("policy", "--run", run, overrides=overrides)
    assert "step 4" in message
    assert "not finite, for instance of:" in message
    kept = run / "round-000" / ".policy.partial" / "checkpoints"
    assert [path.name for path in kept.iterdir()] == ["step-000002"]
    assert hashes(run) == before

    monkeypatch.setattr(RewardScorer, "score", original)
    result = CliRunner().invoke(app, ["policy", "--run", str(run), *(p for o in overrides for p in ("--set", o))])
    assert result.exit_code == 0
    assert "policy: going on where it was interrupted" in result.stdout


def test_a_reward_loss_that_is_not_a_number_loses_nothing(run: Path, tiny_settings: list[str]) -> None:
    before = hashes(run)
    message = refused("reward", "--run", run, overrides=[*tiny_settings, "reward.learning_rate=1e30"])
    assert "not a finite number" in message
    assert "step" in message
    assert hashes(run) == before
