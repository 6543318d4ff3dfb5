"""A judge that was not tuned towards: it ends a training, has an earlier checkpoint kept, or only tells."""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from backbone.logprobs import response_kl
from backbone.sampling import sample
from policy.alarms import AlarmConfig
from policy.native import train
from policy.native.controls import sampling_of
from policy.native.selection import FILE, Selection
from policy.native.train import train_policy
from policy.native.training_state import initial_state
from tests.policy.tiny_run import CONFIG, Killed, LowIds, load_base

TUNED = {
    "steps": 36, "learning_rate": 2e-2, "kl_coefficient": 0.0, "checkpoint_every": 12, "max_new_tokens": 16,
    "alarms": AlarmConfig(kl=None),
}  # fmt: skip
PROMPTS = [[1, 5 + i, 6, 30 + i % 7, 8] for i in range(64)]
Row = dict[str, Any]


class HighIds(LowIds):
    """Likes exactly what the reward does not."""

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return -super().score(prompt_ids, response_ids)


def tune(model: Path, folder: Path, judge: LowIds | None, scorer: LowIds | None = None, **changes: Any) -> list[Row]:
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIG.model_copy(update=TUNED | changes)
    return train_policy(config, load_base(model), scorer or LowIds(), PROMPTS, folder, seed=3, judge=judge)


def same_adapter(one: Path, other: Path) -> bool:
    weights, others = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    return all(torch.equal(value, others[name]) for name, value in weights.items())


@dataclass(frozen=True)
class Judged:
    """A whole training with a judge; tests that change the folder make their own."""

    judge: LowIds
    folder: Path
    log: list[Row]


@pytest.fixture(scope="module")
def agreeing(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("agreeing")
    return Judged(LowIds(), folder, tune(tiny_model, folder, LowIds()))


@pytest.fixture(scope="module")
def opposed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("opposed")
    return Judged(HighIds(), folder, tune(tiny_model, folder, HighIds()))


def test_a_judge_that_agrees_sees_the_gain_and_changes_nothing(
    agreeing: Judged, tiny_model: Path, tmp_path: Path
) -> None:
    log = agreeing.log
    assert [row["step"] for row in log if "judge_gain" in row] == [12, 24, 36]
    assert log[-1]["judge_low"] > 0
    assert log[-1]["judge_low"] < log[-1]["judge_gain"] < log[-1]["judge_high"]
    assert "kept_step" not in log[-1]
    tune(tiny_model, tmp_path / "alone", None)
    assert same_adapter(agreeing.folder, tmp_path / "alone")
    assert not (tmp_path / "alone" / FILE).exists()


def test_a_judge_that_finds_the_policy_worse_than_it_was_has_an_earlier_checkpoint_kept(
    opposed: Judged, tiny_model: Path, tmp_path: Path
) -> None:
    log = opposed.log
    assert len(log) == 36, "it only chooses: it is not in stop_on"
    assert log[-1]["judge_high"] < 0
    assert (log[-1]["kept_step"], "stopped" in log[-1]) == (12, False)
    tune(tiny_model, tmp_path / "short", None, steps=12)
    assert same_adapter(opposed.folder, tmp_path / "short")


def test_it_ends_the_training_where_it_is_asked_to(tiny_model: Path, tmp_path: Path) -> None:
    log = tune(tiny_model, tmp_path / "judged", HighIds(), stop_on=("judge",), steps=60)
    kept = log[-1]["kept_step"]
    assert log[-1]["stopped"] == ["judge"]
    assert 0 < kept < len(log) < 60
    tune(tiny_model, tmp_path / "short", None, steps=kept)
    assert same_adapter(tmp_path / "judged", tmp_path / "short")


def test_what_is_beyond_the_budget_of_the_kl_is_not_kept(tiny_model: Path, tmp_path: Path) -> None:
    log = tune(tiny_model, tmp_path, HighIds(), alarms=AlarmConfig(kl=1e-9), stop_on=("judge",))
    assert len(log) == 36
    assert "kept_step" not in log[-1]


@pytest.mark.parametrize("name", ["agreeing", "opposed"])
def test_a_killed_training_goes_on_to_the_same_choice(
    tiny_model: Path, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    whole: Judged = request.getfixturevalue(name)
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_model, tmp_path, whole.judge, Killed(13))
    with (tmp_path / FILE).open("a") as file:  # judged, but killed before the checkpoint was written
        file.write((whole.folder / FILE).read_text().splitlines()[2] + "\n")
    again = tune(tiny_model, tmp_path, whole.judge)
    told = ("judge_gain", "judge_low", "judge_high", "kept_step")
    found, expected = ([[row.get(name) for name in told] for row in log] for log in (again, whole.log))
    assert found == expected
    assert same_adapter(tmp_path, whole.folder)
    assert (tmp_path / FILE).read_bytes() == (whole.folder / FILE).read_bytes()


def test_every_judged_checkpoint_is_on_file_with_a_score_for_each_prompt(agreeing: Judged) -> None:
    rows = [json.loads(line) for line in (agreeing.folder / FILE).read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 12, 24, 36]
    assert {len(row["scores"]) for row in rows} == {len(PROMPTS)}
    assert rows[0]["kl"] == 0


@dataclass(frozen=True)
class Process:
    """Stands for the accelerator of one of several processes."""

    is_main_process: bool


def test_a_late_process_receives_all_that_the_main_one_sends_though_the_folder_has_it_already(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[Any]] = []
    base, config = load_base(tiny_model), CONFIG.model_copy(update=TUNED)
    state = initial_state(config, base, seed=3)

    def begin(main: bool, broadcast: Callable[[list[Any]], list[Any]]) -> None:
        monkeypatch.setattr("policy.native.selection.broadcast_object_list", broadcast)
        process: Any = Process(main)
        Selection(config, base, LowIds(), PROMPTS[:4], tmp_path, 3, process).go_on(state)

    begin(True, lambda given: sent.append(deepcopy(given)) or given)  # type: ignore[func-returns-value]
    assert (tmp_path / FILE).is_file()
    begin(False, lambda _: sent.pop(0))
    assert sent == []


def test_checkpoints_go_only_when_every_process_has_read_what_it_keeps(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def told(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **named: seen.append(name) or function(*given, **named)  # type: ignore[func-returns-value]

    monkeypatch.setattr(Accelerator, "wait_for_everyone", told("wait", Accelerator.wait_for_everyone))
    monkeypatch.setattr(train, "restore_weights", told("read", train.restore_weights))
    monkeypatch.setattr(train, "finish", told("remove", train.finish))
    tune(tiny_model, tmp_path, None, alarms=AlarmConfig(kl=1e-9, window=1), stop_on=("kl",), checkpoint_every=1)
    assert seen[-4:] == ["read", "wait", "remove", "wait"]


def test_one_prompt_tells_no_gain(tiny_model: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update=TUNED | {"steps": 2, "prompts_per_step": 1})
    log = train_policy(config, load_base(tiny_model), LowIds(), PROMPTS[:1], tmp_path, seed=3, judge=LowIds())
    assert "Infinity" not in json.dumps(log)
    assert "judge_gain" not in log[-1], "its error is not known"


HELD = {"kl_coefficient": 0.05, "kl_target": 0.3, "stop_on": (), "steps": 12}


def off_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that lets the KL go."""
    monkeypatch.setattr("policy.algorithms.kl.AdaptiveKL.coefficient", 1e-6)


def kl_of(model: Path, folder: Path) -> float:
    """The KL from the base of the adapter in this folder, in nats per response."""
    base, config = load_base(model), CONFIG.model_copy(update=TUNED)
    base.load_adapter("policy", folder)
    with base.using("policy"):
        said = [one.response_ids for one in sample(base, PROMPTS, sampling_of(config), seed=3)]
    return float(response_kl(base, "policy", PROMPTS, said, config.temperature).mean())


def test_what_ends_above_the_target_of_the_kl_is_moved_towards_the_base(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off_target(monkeypatch)
    log = tune(tiny_model, tmp_path, LowIds(), **HELD)
    *rows, last = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert rows[-1]["kl"] > 1.15 * 0.3 >= last["kl"]
    assert 0 < last["adapter_scale"] == log[-1]["adapter_scale"] < 1
    assert log[-1]["kl_kept"] == last["kl"] > 0.1, "it goes no further than it has to"
    assert "adapter_scale" not in log[-2]

    assert kl_of(tiny_model, tmp_path) == pytest.approx(last["kl"])


def test_what_ends_above_the_target_without_a_judge_is_moved_as_well(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off_target(monkeypatch)
    last = tune(tiny_model, tmp_path, None, **HELD)[-1]
    assert 0 < last["adapter_scale"] < 1
    assert 0.1 < last["kl_kept"] <= 1.15 * 0.3
    assert kl_of(tiny_model, tmp_path) == pytest.approx(last["kl_kept"])
    assert "judge_gain" not in last
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("judge", [None, LowIds()])
def test_the_checkpoint_that_an_alarm_leaves_above_the_target_is_moved(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: LowIds | None
) -> None:
    off_target(monkeypatch)
    changes = {"checkpoint_every": 4, "alarms": AlarmConfig(kl=1.0, window=1), "stop_on": ("kl",)}
    last = tune(tiny_model, tmp_path, judge, **(HELD | changes))[-1]
    assert last["stopped"] == ["kl"]
    assert last["kept_step"] > 0
    assert 0 < last["adapter_scale"] < 1
    assert kl_of(tiny_model, tmp_path) == pytest.approx(last["kl_kept"])
    assert last["kl_kept"] <= 1.15 * 0.3
    assert ("judge_gain" in last) == (judge is not None)


def test_an_earlier_checkpoint_that_is_kept_is_moved_from_where_it_was(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off_target(monkeypatch)
    log = tune(tiny_model, tmp_path / "judged", HighIds(), **(HELD | {"steps": 24}))
    assert log[-1]["kept_step"] == 12
    tune(tiny_model, tmp_path / "short", None, **(HELD | {"kl_target": 50.0}))
    scale = log[-1].get("adapter_scale", 1.0)
    kept, short = (load_file(tmp_path / name / WEIGHTS) for name in ("judged", "short"))
    for name, value in short.items():
        assert torch.allclose(kept[name], value * scale if "lora_B" in name else value, atol=1e-7)


@pytest.mark.parametrize("changes", [{"kl_target": 50.0}, {"kl_target": None}, {"kl_coefficient": 0.0}])
def test_nothing_is_moved_where_the_target_is_kept_or_none_is_set(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    off_target(monkeypatch)
    log = tune(tiny_model, tmp_path / "judged", LowIds(), **(HELD | changes))
    assert "adapter_scale" not in log[-1]
    tune(tiny_model, tmp_path / "alone", None, **(HELD | changes))
    assert same_adapter(tmp_path / "judged", tmp_path / "alone")
