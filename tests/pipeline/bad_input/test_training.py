"""A training that cannot begin is refused before a model is loaded, and one that goes astray loses nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli.commands import app
from reward_model.scorer import RewardScorer
from tests.pipeline.bad_input.refusing import hashes, refused


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

    monkeypatch.setattr("pipeline.tuning.load_shared_base", load)
    before = hashes(run)
    assert told in refused("policy", "--run", run, overrides=[*tiny_settings, *overrides])
    assert hashes(run) == before


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
