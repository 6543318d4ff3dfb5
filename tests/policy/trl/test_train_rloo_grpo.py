import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from backbone.adapters import SharedBase
from foundation.errors import UserError
from policy.alarms import AlarmConfig
from policy.algorithms.kl import AdaptiveKL
from policy.config import PolicyConfig
from policy.training_log import LOG, MACHINE_METRICS
from policy.trl.controls import Controls
from policy.trl.train_rloo_grpo import Reward, train_with_trl, trl_metrics
from tests import shared_base
from tests.policy.tiny_run import CONFIG, PROMPTS, LowIds, load_base

Row = dict[str, Any]
TRL = CONFIG.model_copy(update={"engine": "trl", "steps": 5, "checkpoint_every": 2})


def changed(**update: Any) -> PolicyConfig:
    return TRL.model_copy(update=update)


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    """What is trained on."""
    return load_base(tiny_model)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _bits(folder: Path) -> tuple[dict[str, bytes], list[Row]]:
    weights = {name: value.numpy().tobytes() for name, value in load_file(folder / WEIGHTS).items()}
    log = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return weights, [{name: row[name] for name in row if not name.startswith(MACHINE_METRICS)} for row in log]


def _mean(log: list[Row], rows: slice) -> float:
    values = [row["score"] for row in log[rows]]
    return float(sum(values) / len(values))


@pytest.mark.parametrize("algorithm", ["rloo", "dr_grpo"])  # GRPO is another setting of the latter's trainer
def test_the_policy_learns(base: SharedBase, tmp_path: Path, algorithm: str) -> None:
    config = changed(algorithm=algorithm, steps=24, kl_coefficient=0.0, prompts_per_step=8, learning_rate=2e-2)
    log = train_with_trl(config, base, LowIds(), PROMPTS, tmp_path, seed=3)
    assert _mean(log, slice(-5, None)) > _mean(log, slice(5)) + 0.1


def test_a_large_kl_coefficient_keeps_the_policy_near_the_base(tiny_model: Path, tmp_path: Path) -> None:
    kl = {}
    for beta in (1e-3, 1.0):
        config = changed(steps=16, kl_coefficient=beta, learning_rate=2e-2)
        log = train_with_trl(config, load_base(tiny_model), LowIds(), PROMPTS, tmp_path / str(beta), seed=3)
        kl[beta] = sum(row["kl"] for row in log[-4:])
    assert kl[1.0] < kl[1e-3] / 3


class Remembering(LowIds):
    """Keeps what it was asked to score."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], list[int]]] = []

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        self.asked += [(list(p), list(r)) for p, r in zip(prompt_ids, response_ids, strict=True)]
        return super().score(prompt_ids, response_ids)


def test_the_scorer_sees_the_ids_that_were_sampled_each_prompt_for_its_group(base: SharedBase, tmp_path: Path) -> None:
    scorer = Remembering()
    log = train_with_trl(changed(steps=3), base, scorer, PROMPTS, tmp_path, seed=3)
    prompts = [prompt for prompt, _ in scorer.asked]
    assert len(prompts) == 3 * 16
    assert all(prompt in PROMPTS for prompt in prompts)
    assert all(prompts[start] == prompts[start + place] for start in range(0, 48, 4) for place in range(4))
    ends = base.renderer.eos_ids
    assert all(not set(response[:-1]) & set(ends) for _, response in scorer.asked)
    lengths = [len(response) for _, response in scorer.asked[:16]]
    assert log[0]["length"] == pytest.approx(sum(lengths) / 16)
    assert log[0]["score"] == pytest.approx(float(LowIds().score(*zip(*scorer.asked[:16], strict=True)).mean()))  # type: ignore[arg-type]


def test_the_log_has_the_native_loops_figures_of_every_step(base: SharedBase, tmp_path: Path) -> None:
    told: list[Row] = []
    log = train_with_trl(TRL, base, LowIds(), PROMPTS, tmp_path, seed=3, on_step=told.append)
    assert told == log == [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5]
    native = {"reward", "score", "kl", "entropy", "length", "finish_rate", "loss", "grad_norm", "learning_rate"}
    native |= {"repetition", "score_spread", "tokens", "tokens_per_second", "peak_memory_gb"}
    native |= {"seconds_sample", "seconds_score", "seconds_update"}
    assert all(native <= row.keys() for row in log)
    assert all(row["seconds_sample"] > 0 and row["seconds_update"] > 0 for row in log)
    assert all(row["tokens"] == 16 * row["length"] for row in log)
    rates = [row["learning_rate"] / TRL.learning_rate for row in log]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])
    assert log[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert all(row["reward"] == pytest.approx(row["score"] - 0.05 * row["kl"]) for row in log)


def test_the_coefficient_follows_the_kl_and_a_token_has_its_price(base: SharedBase, tmp_path: Path) -> None:
    config = changed(steps=5, learning_rate=2e-2, kl_target=0.1, length_control="band")
    log = train_with_trl(config, base, LowIds(), PROMPTS, tmp_path, seed=3)
    controller = AdaptiveKL(0.1, log[0]["score_spread"])
    for row in log:
        assert row["kl_coefficient"] == pytest.approx(controller.coefficient, rel=1e-3)
        assert row["length_ratio"] == pytest.approx(row["length"] / log[0]["length"])
        controller = controller.after(row["kl"], 16)


def test_an_alarm_ends_the_training_and_the_checkpoint_before_is_kept(base: SharedBase, tmp_path: Path) -> None:
    settings = {"steps": 8, "learning_rate": 5e-2, "kl_coefficient": 1e-3, "checkpoint_every": 1}
    alarms = AlarmConfig(first_steps=1, window=1, kl=0.5)
    log = train_with_trl(changed(**settings, alarms=alarms, stop_on=("kl",)), base, LowIds(), PROMPTS, tmp_path, seed=3)
    assert log[-1]["stopped"] == ["kl"]
    assert log[-1]["kept_step"] == len(log) - 1 < 7
    assert (tmp_path / WEIGHTS).is_file()
    assert not (tmp_path / "checkpoints").exists()


def test_alarms_are_in_the_row(base: SharedBase, tmp_path: Path) -> None:
    config = changed(steps=8, learning_rate=5e-2, kl_coefficient=1e-3, alarms=AlarmConfig(kl=0.5))
    log = train_with_trl(config, base, LowIds(), PROMPTS, tmp_path, seed=3)
    assert "kl" in log[-1]["alarms"]
    assert "alarms" not in log[0]


def test_several_updates_on_one_batch_are_one_step(base: SharedBase, tmp_path: Path) -> None:
    scorer = Remembering()
    log = train_with_trl(changed(epochs=2, minibatches=2, steps=3), base, scorer, PROMPTS, tmp_path, seed=3)
    assert len(log) == 3
    assert len(scorer.asked) == 3 * 16
    assert [row["learning_rate"] / TRL.learning_rate for row in log] == pytest.approx([1 / 3, 2 / 3, 1])


class Failing(LowIds):
    """Gives bad scores in its `call`-th call."""

    def __init__(self, call: int) -> None:
        self.call = call

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        self.call -= 1
        return super().score(prompt_ids, response_ids) * (float("nan") if self.call == 0 else 1.0)


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_an_interrupted_run_goes_on_to_the_same_bits(tiny_model: Path, tmp_path: Path, algorithm: str) -> None:
    config = changed(algorithm=algorithm)
    train_with_trl(config, load_base(tiny_model), LowIds(), PROMPTS, tmp_path / "whole", seed=3)
    stopped = tmp_path / "stopped"
    with pytest.raises(UserError, match="16 of 16 responses is not finite"):
        train_with_trl(config, load_base(tiny_model), Failing(4), PROMPTS, stopped, seed=3)
    assert not (stopped / WEIGHTS).exists()
    half = stopped / "checkpoints" / "checkpoint-4"  # as if the kill had come while it was written
    half.mkdir()
    told: list[int] = []
    train_with_trl(
        config, load_base(tiny_model), LowIds(), PROMPTS, stopped, seed=3, on_step=lambda row: told.append(row["step"])
    )
    assert told == [1, 2, 3, 4, 5]
    assert _bits(stopped) == _bits(tmp_path / "whole")
    assert not (stopped / "checkpoints").exists()


def test_what_is_written_loads_as_the_policy(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    train_with_trl(changed(steps=2), base, LowIds(), PROMPTS, tmp_path, seed=3)
    fresh = load_base(tiny_model)
    fresh.load_adapter("policy", tmp_path)
    saved = load_file(tmp_path / WEIGHTS)
    for name, value in fresh.parameters("policy").items():
        torch.testing.assert_close(value, saved[name], rtol=0, atol=0)
    assert any(bool(value.any()) for name, value in saved.items() if "lora_B" in name)


def test_only_the_policys_adapter_changes_where_the_base_carries_others(base: SharedBase, tmp_path: Path) -> None:
    shared_base.add_random_adapter(base, "reward")
    before = {name: value.detach().clone() for name, value in base.parameters("reward").items()}
    weights = {name: value.clone() for name, value in base.base.state_dict().items() if "lora" not in name}

    class UsesTheBase(LowIds):
        def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
            with base.using("reward"):
                shared_base.logits(base, list(response_ids[0]))
            return super().score(prompt_ids, response_ids)

    train_with_trl(changed(steps=3), base, UsesTheBase(), PROMPTS, tmp_path, seed=3)
    for name, value in base.parameters("reward").items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    for name, value in base.base.state_dict().items():
        if name in weights:
            torch.testing.assert_close(value, weights[name], rtol=0, atol=0)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", WEIGHTS, LOG}


def test_training_goes_on_from_an_adapter_of_another_rank(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    shared_base.add_random_adapter(base, "before", rank=3)
    base.save_adapter("before", tmp_path / "before")
    config = changed(steps=1, learning_rate=1e-9)
    log = train_with_trl(
        config, load_base(tiny_model), LowIds(), PROMPTS, tmp_path / "after", seed=0, initial=tmp_path / "before"
    )
    before, after = load_file(tmp_path / "before" / WEIGHTS), load_file(tmp_path / "after" / WEIGHTS)
    for name, value in before.items():
        torch.testing.assert_close(value, after[name], atol=1e-8, rtol=0)
    assert log[0]["kl"] > 0.5, "the reference is the base, not the adapter that training began with"


def test_recomputed_activations_and_plain_lora_layers_change_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = {"as it is": {}, "checkpointed": {"gradient_checkpointing": True}, "unfused": {}}
    for way, update in ways.items():
        if way == "unfused":
            monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
        train_with_trl(changed(steps=2, **update), load_base(tiny_model), LowIds(), PROMPTS, tmp_path / way, seed=3)
    first, *others = (load_file(tmp_path / way / WEIGHTS) for way in ways)
    for other in others:
        for name, value in first.items():
            torch.testing.assert_close(value, other[name], atol=1e-6, rtol=0)


def test_a_base_with_dropout_is_trained_on_without_it(tiny_model: Path, tmp_path: Path) -> None:
    found = []
    for dropout, recomputed in ((0.0, False), (0.5, False), (0.5, True)):
        opt = shared_base.save_opt(tmp_path / f"opt-{dropout}", tiny_model, dropout)
        folder, config = tmp_path / f"{dropout}-{recomputed}", changed(steps=2, gradient_checkpointing=recomputed)
        train_with_trl(config, shared_base.load(opt), LowIds(), PROMPTS, folder, seed=3)
        found.append(load_file(folder / WEIGHTS))
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, atol=1e-6, rtol=1e-5)


class Fixed:
    """The same scores whatever the responses."""

    def __init__(self, *scores: float) -> None:
        self.scores = torch.tensor(scores)

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        return self.scores


def test_the_reward_is_clipped_and_penalised_as_in_the_native_loop(base: SharedBase) -> None:
    config = changed(score_clip=2.0, missing_eos_penalty=0.5, length_penalty=0.1, group=2)
    logged: dict[str, float] = {}
    end = base.renderer.eos_ids[0]
    reward = Reward(config, base, Fixed(5.0, -1.0), Controls(config))
    found = reward([[1], [1]], ["", ""], [[7, 8, end], [7, 8]], log_metric=logged.__setitem__)
    assert found == pytest.approx([2.0 - 0.3, -1.0 - 0.5 - 0.2])
    assert logged["score"] == pytest.approx(2.0)
    assert logged["finish_rate"] == pytest.approx(0.5)


def test_kl_is_nats_a_response_and_taken_off_the_reward_of_rloo_alone() -> None:
    logs = {"reward": 1.0, "kl": 0.1, "completions/mean_length": 20.0, "loss": 0.0}
    assert trl_metrics(TRL, logs, 0.05)["kl"] == pytest.approx(2.0)
    assert trl_metrics(TRL, logs, 0.05)["reward"] == pytest.approx(1.0 - 0.05 * 2.0)
    assert trl_metrics(changed(algorithm="grpo"), logs, 0.05)["reward"] == 1.0
