from pathlib import Path
from typing import Any

import pytest
import torch

from foundation.errors import UserError
from policy.algorithms.advantages import RunningMean
from policy.algorithms.registry import ALGORITHMS, Algorithm, Experience
from policy.config import PolicyConfig, algorithm_of, check_config
from tests.policy.tiny_run import CONFIG, run

TASK = {"steps": 30, "prompts_per_step": 8, "kl_coefficient": 0.0, "learning_rate": 2e-2}
SEVERAL = {"epochs": 2, "minibatches": 2, "steps": 20}
REWARDS = torch.tensor([[0.0, 1.0], [0.0, 3.0], [0.0, 2.0], [0.0, 0.0]])
VALUES = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [1.0, 0.0]])


def experience(**what: Any) -> Experience:
    return Experience(REWARDS, torch.ones_like(REWARDS), **({"group": 2} | what))


# Chance alone moves the mean of five steps by some 0.014; the least gain seen was 0.068, of GRPO, with another seed.
@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "reinforce", "baseline": "none"},
        {"algorithm": "reinforce", "baseline": "mean"},
        {"algorithm": "reinforce", "baseline": "value"},
        {"algorithm": "reinforce", "baseline": "value", "value_network": "adapter", "value_learning_rate": 1e-2},
        {"algorithm": "rloo"},
        {"algorithm": "grpo", **SEVERAL},
        {"algorithm": "dr_grpo"},
        {"algorithm": "reinforce_plus_plus"},
        {"algorithm": "ppo", **SEVERAL},
        {"algorithm": "ppo", **SEVERAL, "value_network": "adapter", "value_clip": 0.2, "value_learning_rate": 1e-2},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_every_algorithm_learns_a_planted_preference(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    log = run(tiny_model, tmp_path, CONFIG.model_copy(update=TASK | settings))
    first, last = (sum(row["score"] for row in part) / 5 for part in (log[:5], log[-5:]))
    assert last > first + 0.05


def test_every_entry_makes_advantages_of_its_own() -> None:
    found = {
        name: entry.advantages(experience(values=VALUES if entry.needs_values else None)).tolist()
        for name, entry in ALGORITHMS.items()
    }
    assert found["reinforce"] == [[1.0, 1.0], [3.0, 3.0], [2.0, 2.0], [0.0, 0.0]]
    assert found["rloo"] == [[-2.0, -2.0], [2.0, 2.0], [2.0, 2.0], [-2.0, -2.0]]
    assert found["dr_grpo"] == [[-1.0, -1.0], [1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]]
    assert found["grpo"][0] == pytest.approx([-1 / (2**0.5 + 1e-4)] * 2)
    assert found["ppo"] == [[0.0, -1.0], [2.0, 1.0], [2.0, 2.0], [-1.0, 0.0]]
    assert found["reinforce_plus_plus"] == found["reinforce"], "before whitening, and with no baseline"


def test_reinforce_takes_off_what_it_was_told_to() -> None:
    entry = ALGORITHMS["reinforce"]
    assert entry.advantages(experience(baseline=RunningMean(1.5, 8))).tolist()[0] == [-0.5, -0.5]
    assert entry.advantages(experience(values=VALUES)).tolist() == [[0.0, -1.0], [2.0, 1.0], [2.0, 2.0], [-1.0, 0.0]]


def test_gae_in_ppo_has_its_lambda_and_reinforce_the_whole_return() -> None:
    batch = experience(values=VALUES, gae_lambda=0.0)
    assert ALGORITHMS["ppo"].advantages(batch).tolist() == [[1.0, -1.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 0.0]]
    assert ALGORITHMS["reinforce"].advantages(batch).tolist()[0] == [0.0, -1.0]


def test_a_new_algorithm_is_one_entry(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def nothing(batch: Experience) -> torch.Tensor:
        seen.append(batch.rewards.shape)
        return torch.zeros_like(batch.rewards)

    monkeypatch.setitem(ALGORITHMS, "idle", Algorithm(nothing))
    log = run(tiny_model, tmp_path, CONFIG.model_copy(update={"algorithm": "idle", "steps": 2}))
    assert len(seen) == 2
    assert [row["grad_norm"] for row in log] == [0, 0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"clipped": False, "kl_in": "reward", "kl_estimator": "k1", "aggregation": "sum", "whiten": False}),
        ({"minibatches": 2}, {"clipped": True}),
        ({"epochs": 2}, {"clipped": True}),
        ({"algorithm": "grpo"}, {"kl_in": "loss", "kl_estimator": "k2", "aggregation": "sequence_mean"}),
        ({"algorithm": "grpo", "kl_in": "reward"}, {"kl_in": "reward", "kl_estimator": "k1"}),
        ({"kl_in": "loss"}, {"kl_in": "loss", "kl_estimator": "k2"}),
        ({"algorithm": "grpo", "kl_estimator": "k3"}, {"kl_estimator": "k3"}),
        ({"algorithm": "dr_grpo"}, {"aggregation": "fixed"}),
        ({"algorithm": "dr_grpo", "aggregation": "token_mean"}, {"aggregation": "token_mean"}),
        ({"algorithm": "ppo"}, {"whiten": True, "needs_values": True}),
        ({"algorithm": "ppo", "whiten_advantages": False}, {"whiten": False}),
        ({"algorithm": "reinforce_plus_plus"}, {"whiten": True}),
        ({"algorithm": "reinforce", "baseline": "value"}, {"needs_values": True}),
        ({"algorithm": "rloo", "baseline": "value"}, {"needs_values": False}),
    ],
)
def test_the_configuration_goes_before_the_algorithms_own_choice(
    settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = vars(algorithm_of(PolicyConfig(**settings)))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "rloo", "group": 1}, "algorithm=rloo .* needs policy.group of at least 2; it is 1"),
        ({"algorithm": "grpo", "group": 1}, "algorithm=grpo .* needs policy.group of at least 2"),
        ({"algorithm": "dr_grpo", "group": 1}, "algorithm=dr_grpo .* needs policy.group of at least 2"),
        (
            {"minibatches": 3},
            r"minibatches=3 does not divide the 32 responses .*prompts_per_step=8 times",
        ),
        ({"kl_in": "loss", "kl_estimator": "k1"}, "expected gradient of zero.*k2, or policy.kl_in=reward"),
        ({"value_clip": 0.2}, "value_network=head takes none"),
        ({"initial": Path("/nowhere/adapter")}, "there is no folder /nowhere/adapter"),
    ],
)
def test_what_cannot_work_is_refused_before_a_model_is_loaded(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_config(PolicyConfig(**settings), 100)


def test_what_can_work_passes() -> None:
    for settings in (
        {"algorithm": "reinforce", "group": 1},
        {"algorithm": "ppo", "group": 1, "epochs": 4, "minibatches": 8, "kl_target": 6.0},
        {"kl_in": "loss", "kl_estimator": "k1", "kl_coefficient": 0.0},
        {"algorithm": "dpo", "group": 1},
    ):
        check_config(PolicyConfig(**settings), 100)


@pytest.mark.parametrize("settings", [{"algorithm": "a2c"}, {"stop": ("",)}, {"importance_cap": 0.5}])
def test_values_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"known are|leave it out|greater than or equal"):
        PolicyConfig(**settings)
