import json
import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from backbone.adapter_folder import WEIGHTS
from backbone.adapters import SharedBase
from backbone.logprobs import TokenLogprobs, response_logprobs
from foundation.errors import UserError
from policy.config import check_config
from policy.native import update
from policy.native.train import prompts_of_step, train_policy
from policy.training_log import LOG, MACHINE_METRICS
from tests import shared_base
from tests.policy.tiny_run import CONFIG, EVERYTHING, PROMPTS, LowIds, load_base, main, run
from tests.suite import forked

Row = dict[str, Any]


def _mean(log: list[Row], name: str, rows: slice) -> float:
    values = [row[name] for row in log[rows]]
    return float(sum(values) / len(values))


def _bits(folder: Path) -> tuple[dict[str, bytes], list[Row]]:
    """All that must not differ between two runs: the adapter's weights and the log without its seconds."""
    weights = {name: value.numpy().tobytes() for name, value in load_file(folder / WEIGHTS).items()}
    log = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return weights, [{name: row[name] for name in row if not name.startswith(MACHINE_METRICS)} for row in log]


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    """What `run` trains on."""
    return load_base(tiny_model)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, also across processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def uninterrupted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(tiny_model, folder)
    return folder


def test_a_large_kl_coefficient_keeps_the_policy_near_the_base(tiny_model: Path, tmp_path: Path) -> None:
    kl = {}
    for beta in (0.0, 1.0):
        config = CONFIG.model_copy(update={"steps": 20, "kl_coefficient": beta})
        kl[beta] = _mean(run(tiny_model, tmp_path / str(beta), config), "kl", slice(-5, None))
    assert kl[1.0] < kl[0.0] / 3


@pytest.mark.parametrize("algorithm", ["rloo", "ppo"])
def test_only_the_last_blocks_are_tuned(tiny_model: Path, tmp_path: Path, algorithm: str) -> None:
    run(tiny_model, tmp_path, CONFIG.model_copy(update={"lora_layers": 0.5, "algorithm": algorithm, "steps": 3}))
    weights = {name: value for name, value in load_file(tmp_path / WEIGHTS).items() if ".lora_" in name}
    assert all(value.any() for value in weights.values())
    assert {name.split(".layers.")[1][0] for name in weights} == {"1"}


def test_the_log_has_every_figure_of_every_step(uninterrupted: Path) -> None:
    _, log = _bits(uninterrupted)
    assert [row["step"] for row in log] == list(range(1, CONFIG.steps + 1))
    figures = {"reward", "score", "kl", "entropy", "length", "finish_rate", "loss", "grad_norm", "learning_rate"}
    assert all(figures <= row.keys() for row in log)
    assert {name for name in json.loads((uninterrupted / LOG).read_text().splitlines()[0]) if "seconds" in name} == {
        "seconds_sample",
        "seconds_score",
        "seconds_reference",
        "seconds_update",
    }
    assert log[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert max(row["logprob_mismatch"] for row in log) < 1e-4
    assert log[0]["learning_rate"] == pytest.approx(CONFIG.learning_rate / 3)
    assert log[-1]["learning_rate"] == CONFIG.learning_rate
    assert not (uninterrupted / "checkpoints").exists()


@pytest.mark.parametrize("place", ["step 7", "before rename", "after rename"])
def test_a_killed_run_goes_on_to_the_same_bits(
    tiny_model: Path, tmp_path: Path, uninterrupted: Path, place: str
) -> None:
    status = forked.run(main, str(tiny_model), str(tmp_path), "--kill", place, log=tmp_path / "printed")
    assert status == -signal.SIGKILL, (tmp_path / "printed").read_text()
    assert not (tmp_path / WEIGHTS).exists()
    whole = sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))
    assert whole == ["step-000004", *(["step-000008"] if place == "after rename" else [])]
    with (tmp_path / LOG).open("a") as log:
        log.write('{"step": 9, "rew')  # as if the kill had come while a row was written
    told: list[int] = []
    run(tiny_model, tmp_path, on_step=lambda row: told.append(row["step"]))
    assert told == list(range(1, 10))
    assert _bits(tmp_path) == _bits(uninterrupted)


def test_a_run_with_everything_killed_amid_an_update_goes_on_to_the_same_bits(tiny_model: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update=EVERYTHING)
    run(tiny_model, tmp_path / "whole", config)
    settings = [f"{name}={json.dumps(value)}" for name, value in EVERYTHING.items()]
    given = [str(tiny_model), str(tmp_path / "killed"), *settings, "--kill", "amid update"]
    status = forked.run(main, *given, log=tmp_path / "printed")
    assert status == -signal.SIGKILL, (tmp_path / "printed").read_text()
    assert [path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()] == ["step-000004"]
    assert len((tmp_path / "killed" / LOG).read_text().splitlines()) == 6
    run(tiny_model, tmp_path / "killed", config)
    assert _bits(tmp_path / "killed") == _bits(tmp_path / "whole")


def test_the_explained_variance_is_that_of_the_returns_whatever_lambda_is(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def explained(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> float:
        seen.append((values, returns, mask.bool()))
        return 0.0

    monkeypatch.setattr("policy.native.train.explained_variance", explained)
    changes = {"algorithm": "ppo", "gae_lambda": 0.0, "kl_coefficient": 0.0, "steps": 2}
    run(tiny_model, tmp_path, CONFIG.model_copy(update=changes))
    values, returns, mask = seen[-1]
    assert values.any()
    for row, there in zip(returns, mask, strict=True):  # the score comes at the end, and nothing is discounted
        assert len(row[there].unique()) == 1


def test_micro_batches_add_up_to_the_whole_batch(tiny_model: Path, tmp_path: Path) -> None:
    weights = []
    for size in (1, 5, 16):
        run(tiny_model, tmp_path / str(size), CONFIG.model_copy(update={"steps": 2, "micro_batch": size}))
        weights.append(load_file(tmp_path / str(size) / WEIGHTS))
    for other in weights[1:]:
        for name, value in weights[0].items():
            torch.testing.assert_close(value, other[name], atol=1e-5, rtol=0)


def test_training_goes_on_from_an_adapter(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    shared_base.add_random_adapter(base, "before", rank=3)
    base.save_adapter("before", tmp_path / "before")
    config = CONFIG.model_copy(update={"steps": 1, "learning_rate": 1e-9})
    tuned = load_base(tiny_model)
    (tmp_path / "after").mkdir()
    train_policy(config, tuned, LowIds(), PROMPTS, tmp_path / "after", seed=0, initial=tmp_path / "before")
    before, after = load_file(tmp_path / "before" / WEIGHTS), load_file(tmp_path / "after" / WEIGHTS)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, value in before.items():
        torch.testing.assert_close(value, after[name], atol=1e-8, rtol=0)


def test_training_goes_on_from_an_adapter_that_peft_made_with_a_rank_and_layers_of_its_own(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    foreign = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"], use_rslora=True))
    foreign.save_pretrained(str(tmp_path / "foreign"))
    base = load_base(tiny_model)
    config = CONFIG.model_copy(update={"steps": 1, "initial": tmp_path / "foreign", "lora_rank": 8})
    (tmp_path / "tuned").mkdir()
    train_policy(config, base, LowIds(), PROMPTS, tmp_path / "tuned", seed=0)
    before, after = (load_file(tmp_path / name / WEIGHTS) for name in ("foreign", "tuned"))
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    made = json.loads((tmp_path / "tuned" / "adapter_config.json").read_text())
    assert (made["r"], made["lora_alpha"], made["use_rslora"]) == (2, 6, True)
    assert set(made["target_modules"]) == {"q_proj", "v_proj"}


class Sometimes(LowIds):
    """Gives one bad score in a chosen call."""

    def __init__(self, call: int, bad: float) -> None:
        self.calls, self.call, self.bad = 0, call, bad

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        self.calls += 1
        scores = super().score(prompt_ids, response_ids)
        if self.calls == self.call:
            scores[2] = self.bad
        return scores


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_stops_at_its_step_and_nothing_is_lost(
    base: SharedBase, tiny_model: Path, tmp_path: Path, uninterrupted: Path, bad: float
) -> None:
    with pytest.raises(UserError, match=r"step 6: the score of 1 of 16 responses is not finite.*checkpoint is kept"):
        train_policy(CONFIG, base, Sometimes(6, bad), PROMPTS, tmp_path, seed=3)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000004"]
    assert not (tmp_path / WEIGHTS).exists()
    run(tiny_model, tmp_path)
    assert _bits(tmp_path) == _bits(uninterrupted)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_adapter_is_touched(
    base: SharedBase,
    tiny_model: Path,
    tmp_path: Path,
    uninterrupted: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    calls = 0

    def spoilt(*args: Any, **options: Any) -> TokenLogprobs:
        nonlocal calls
        calls += 1
        found = response_logprobs(*args, **options)
        if calls <= 5 * 4:  # four micro-batches a step
            return found
        if what == "gradient":
            found.logprobs.register_hook(lambda gradient: gradient * float("inf"))
            return found
        return found._replace(logprobs=found.logprobs * float("nan"))

    monkeypatch.setattr(update, "response_logprobs", spoilt)
    with pytest.raises(UserError, match=rf"the {what} of step 6 is not finite.*learning_rate"):
        train_policy(CONFIG, base, LowIds(), PROMPTS, tmp_path, seed=3)
    assert all(parameter.isfinite().all() for parameter in base.parameters("policy").values())
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000004"]
    monkeypatch.undo()
    run(tiny_model, tmp_path)
    assert _bits(tmp_path) == _bits(uninterrupted)


def test_a_base_whose_weights_are_not_finite_stops_at_the_first_step(base: SharedBase, tmp_path: Path) -> None:
    next(base.base.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match="step 1"):
        train_policy(CONFIG, base, LowIds(), PROMPTS, tmp_path, seed=3)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    base: SharedBase, tiny_model: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def full(value: dict[str, Any], path: Path) -> None:
        if value["step"] == 8:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(value, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"cannot write the checkpoint .*step-000008.*No space left"):
        train_policy(CONFIG, base, LowIds(), PROMPTS, tmp_path, seed=3)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000004"]
    monkeypatch.undo()
    run(tiny_model, tmp_path)
    assert _bits(tmp_path) == _bits(uninterrupted)


@pytest.mark.parametrize(
    ("settings", "prompts", "processes", "message"),
    [
        ({"prompts_per_step": 13}, 12, 1, "prompts_per_step=13, but there are only 12 prompts"),
        ({"prompts_per_step": 4}, 12, 3, "prompts_per_step=4 cannot be divided among 3 processes"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], prompts: int, processes: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_config(CONFIG.model_copy(update=settings), prompts, processes)


def test_what_cannot_work_is_refused_before_anything_is_made(base: SharedBase, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only 2 prompts"):
        train_policy(CONFIG, base, LowIds(), PROMPTS[:2], tmp_path, seed=0)
    assert base.adapters == []
    assert list(tmp_path.iterdir()) == []


def test_what_can_work_passes() -> None:
    check_config(CONFIG, 4, 2)


def test_every_prompt_is_used_once_an_epoch_in_an_order_of_its_own() -> None:
    used = [place for step in range(6) for place in prompts_of_step(10, 5, step, seed=1)]
    epochs = [used[start : start + 10] for start in range(0, 30, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert prompts_of_step(10, 5, 0, seed=2) != prompts_of_step(10, 5, 0, seed=1)
    assert prompts_of_step(10, 4, 2, seed=1) == [*used[8:10], *used[10:12]]


def test_an_epoch_is_shuffled_once_however_many_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = []

    class Counted(random.Random):
        def shuffle(self, x: Any) -> None:
            shuffled.append(len(x))
            super().shuffle(x)

    monkeypatch.setattr("policy.native.train.random.Random", Counted)
    for step in range(6):
        prompts_of_step(64, 32, step, seed=3)
    assert shuffled == [64, 64, 64]
