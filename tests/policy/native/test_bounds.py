"""Alarms that end a training, the band of lengths, and the samples that are kept of it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from policy.alarms import AlarmConfig
from policy.native.train import train_policy
from policy.training_log import SAMPLES
from tests.policy.tiny_run import CONFIG, PROMPTS, Killed, LowIds, load_base, run

WATCHED = [{"id": f"p{i}", "prompt": [{"role": "user", "content": text}]} for i, text in enumerate(("cat", "dog"))]
Row = dict[str, Any]


class Shorter:
    """A reward that pays for length alone: for little of it."""

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor([-float(len(ids)) for ids in response_ids])


HACK = {
    "steps": 16, "max_new_tokens": 24, "stop": ("e", "a", " "), "kl_coefficient": 0.0, "learning_rate": 2e-2,
    "alarms": AlarmConfig(first_steps=4, window=4, length=1.3),
}  # fmt: skip


def tune(model: Path, folder: Path, scorer: Any, **changes: Any) -> list[Row]:
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIG.model_copy(update=changes)
    return train_policy(config, load_base(model), scorer, PROMPTS, folder, seed=3, watched=WATCHED)


@pytest.fixture(scope="module")
def hacked(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The log of a policy that may exploit the length."""
    return tune(tiny_model, tmp_path_factory.mktemp("hacked"), Shorter(), **HACK)


def test_samples_of_the_start_are_kept_once_after_a_kill_before_the_first_checkpoint(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model, tmp_path, Killed(2), steps=4)
    tune(tiny_model, tmp_path, LowIds(), steps=4)
    rows = [json.loads(line) for line in (tmp_path / SAMPLES).read_text().splitlines()]
    assert [(row["step"], row["prompt_id"]) for row in rows] == [(0, "p0"), (0, "p1"), (4, "p0"), (4, "p1")]


class InOtherUnits(LowIds):
    """The same score, times a thousand."""

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return 1000 * super().score(prompt_ids, response_ids)


def test_a_kl_that_is_weighed_against_whitened_advantages_begins_on_their_scale(
    tiny_model: Path, tmp_path: Path
) -> None:
    changes = {"algorithm": "dr_grpo", "whiten_advantages": True, "kl_target": 3.0, "steps": 1}
    (one,) = tune(tiny_model, tmp_path / "one", LowIds(), **changes)
    (other,) = tune(tiny_model, tmp_path / "other", InOtherUnits(), **changes)
    assert other["kl_coefficient"] == pytest.approx(one["kl_coefficient"], rel=1e-3)
    assert other["advantage_std"] == pytest.approx(1000 * one["advantage_std"], rel=1e-3), "before whitening"


def test_alarms_that_stop_nothing_are_only_told(hacked: list[Row]) -> None:
    assert len(hacked) == 16
    assert hacked[-1]["alarms"] == ["length"]
    assert hacked[-1]["length"] < 0.6 * hacked[0]["length"]


def test_a_reward_that_pays_for_length_is_stopped_and_the_checkpoint_before_is_kept(
    tiny_model: Path, tmp_path: Path, hacked: list[Row]
) -> None:
    log = tune(tiny_model, tmp_path / "stopped", Shorter(), **HACK | {"stop_on": ("kl", "length")})
    first = next(row["step"] for row in hacked if "length" in row.get("alarms", ()))
    assert [row["step"] for row in log] == list(range(1, first + 1))
    assert log[-1]["stopped"] == ["length"]
    kept = log[-1]["kept_step"]
    assert kept == (first - 1) // CONFIG.checkpoint_every * CONFIG.checkpoint_every > 0
    tune(tiny_model, tmp_path / "short", Shorter(), **HACK | {"steps": kept})
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("stopped", "short"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_alarm_before_the_first_checkpoint_leaves_the_adapter_as_it_began(tiny_model: Path, tmp_path: Path) -> None:
    alarms = AlarmConfig(first_steps=1, window=1, kl=1e-6)
    log = tune(tiny_model, tmp_path, LowIds(), alarms=alarms, stop_on=("kl",), checkpoint_every=9)
    assert log[-1]["stopped"] == ["kl"]
    assert len(log) < 9
    assert log[-1]["kept_step"] == 0
    assert all(not bool(value.any()) for name, value in load_file(tmp_path / WEIGHTS).items() if "lora_B" in name)


def test_the_band_holds_lengths_that_the_reward_pays_for(tiny_model: Path, tmp_path: Path, hacked: list[Row]) -> None:
    held = tune(
        tiny_model, tmp_path, Shorter(), **HACK | {"length_control": "band", "steps": 24, "prompts_per_step": 8}
    )
    assert sum(row["length_ratio"] for row in held[-4:]) / 4 > 0.6
    assert min(row["length_price"] for row in held) < 0


def test_samples_are_kept_at_the_start_at_checkpoints_and_at_the_end(tiny_model: Path, tmp_path: Path) -> None:
    tune(tiny_model, tmp_path, LowIds())
    rows = [json.loads(line) for line in (tmp_path / SAMPLES).read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 0, 4, 4, 8, 8, 9, 9]
    assert {row["prompt_id"] for row in rows} == {"p0", "p1"}
    assert all(isinstance(row["response"], str) for row in rows)


def test_samples_of_a_killed_training_are_those_of_a_whole_one(tiny_model: Path, tmp_path: Path) -> None:
    tune(tiny_model, tmp_path / "whole", LowIds())

    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model, tmp_path / "killed", Killed())
    path = tmp_path / "killed" / SAMPLES
    path.write_text(path.read_text() + '{"step": 8, "prom')
    tune(tiny_model, tmp_path / "killed", LowIds())
    assert path.read_bytes() == (tmp_path / "whole" / SAMPLES).read_bytes()


def test_nothing_is_kept_of_no_prompts(tiny_model: Path, tmp_path: Path) -> None:
    run(tiny_model, tmp_path, CONFIG.model_copy(update={"steps": 1}))
    assert not (tmp_path / SAMPLES).exists()
