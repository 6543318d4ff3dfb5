from types import SimpleNamespace
from typing import Any

import pytest

from foundation.errors import UserError
from pipeline.config.config import load_config
from pipeline.preflight.reward_gate import refuse_weak

REASON = "On 40 pairs, the reward model is right in 50.0%."


def round_with(gate: str | None, tuned_towards: str | None = None) -> Any:
    figures = {"gate": gate, "gate_reason": REASON} if gate else {}
    basis = SimpleNamespace(inputs={"round-000/reward": tuned_towards})
    records = {
        "reward": SimpleNamespace(figures=figures, output_sha256="now"),
        "policy": SimpleNamespace(basis=basis) if tuned_towards else None,
    }
    return SimpleNamespace(record=records.get, folder=SimpleNamespace(name="round-000"))


def test_a_weak_reward_model_is_not_tuned_towards_and_the_reason_is_given() -> None:
    with pytest.raises(UserError, match=r"weak.*On 40 pairs.*--accept-weak-reward"):
        refuse_weak(round_with("weak"), load_config(environment={}))


@pytest.mark.parametrize(
    "override", ["policy.accept_weak_reward=true", "policy.algorithm=dpo", "rewards=[{name: coherence}]"]
)
def test_what_was_accepted_and_what_needs_no_reward_model_goes_on(override: str) -> None:
    refuse_weak(round_with("weak"), load_config(overrides=[override], environment={}))


def test_one_that_passed_an_older_one_and_one_that_was_tuned_towards_already_go_on() -> None:
    config = load_config(environment={})
    refuse_weak(round_with("passed"), config)
    refuse_weak(round_with(None), config)
    refuse_weak(round_with("weak", tuned_towards="now"), config)
    with pytest.raises(UserError):
        refuse_weak(round_with("weak", tuned_towards="before"), config)
