from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from backbone.adapter_folder import WEIGHTS
from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from foundation.errors import UserError
from policy.config import PolicyConfig
from policy.trl.train_dpo import check_dpo, pairs_of, train_dpo
from tests import shared_base
from tests.policy.tiny_run import load_base

CONFIG = PolicyConfig(
    algorithm="dpo", steps=12, prompts_per_step=4, kl_coefficient=0.1, learning_rate=1e-2, lora_rank=4, lora_alpha=8,
    micro_batch=4, checkpoint_every=4,
)  # fmt: skip
TOPICS = ["cat", "dog", "mat", "rain", "tea", "moon", "chair", "song", "soup", "lamp"]
Row = dict[str, Any]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


ROWS: list[Row] = [
    {
        "prompt": [{"role": "user", "content": f"tell me of the {topic}"}],
        "chosen": said("the cat sat"),
        "rejected": said("ran to the dog"),
        "weight": 1.0,
        "ids": {"prompt": topic},
    }
    for topic in TOPICS
]


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


@torch.no_grad()
def preferred(base: SharedBase, adapter: str | None) -> float:
    """Mean over the pairs of log pi(chosen) - log pi(rejected)."""
    pairs = pairs_of(ROWS, base.renderer)
    with base.using(adapter):
        chosen, rejected = (
            response_logprobs(base, [pair["prompt_ids"] for pair in pairs], [pair[side] for pair in pairs], 1.0)
            for side in ("chosen_ids", "rejected_ids")
        )
    return float((chosen.logprobs.sum(1) - rejected.logprobs.sum(1)).mean())


def test_the_policy_comes_to_prefer_what_was_preferred(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    log = train_dpo(CONFIG, base, ROWS, tmp_path, seed=0)
    assert [row["step"] for row in log] == list(range(1, 13))
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-3), "log 2 while policy and reference agree"
    assert log[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert log[-1]["accuracy"] == 1.0
    fresh = load_base(tiny_model)
    fresh.load_adapter("policy", tmp_path)
    gain = preferred(fresh, "policy") - preferred(fresh, None)
    assert gain > 3
    # The implicit reward is beta times the log-ratio to the base (Rafailov et al. 2023, eq. 5), as it was before the
    # last update.
    assert log[-1]["margin"] == pytest.approx(CONFIG.kl_coefficient * gain, rel=0.3)


def test_a_larger_beta_stays_nearer_to_the_base(tiny_model: Path, tmp_path: Path) -> None:
    moved = {}
    for beta in (0.05, 1.0):
        config = CONFIG.model_copy(update={"kl_coefficient": beta, "steps": 25})
        train_dpo(config, load_base(tiny_model), ROWS, tmp_path / str(beta), seed=0)
        fresh = load_base(tiny_model)
        fresh.load_adapter("policy", tmp_path / str(beta))
        moved[beta] = preferred(fresh, "policy") - preferred(fresh, None)
    assert moved[1.0] < moved[0.05]


def test_pairs_are_rendered_as_everywhere(base: SharedBase) -> None:
    pair = pairs_of(ROWS[:1], base.renderer)[0]
    assert pair["prompt_ids"] == base.renderer.prompt_ids(ROWS[0]["prompt"])
    assert pair["chosen_ids"] == base.renderer.response_ids("the cat sat")
    assert pair["rejected_ids"][-1] == base.renderer.eos_ids[0]


def test_pairs_beyond_the_context_are_left_out(base: SharedBase) -> None:
    endless = ROWS[0] | {"chosen": said("cat " * 300)}
    assert len(pairs_of([endless, *ROWS], base.renderer)) == len(ROWS)
    with pytest.raises(UserError, match="none of the 1 preference pairs fits into the context of 256"):
        pairs_of([endless], base.renderer)


def test_an_interrupted_run_goes_on_to_the_same_bits(tiny_model: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def die(row: Row) -> None:
        if row["step"] == 6:
            raise Killed

    train_dpo(CONFIG, load_base(tiny_model), ROWS, tmp_path / "whole", seed=0)
    with pytest.raises(Killed):
        train_dpo(CONFIG, load_base(tiny_model), ROWS, tmp_path / "killed", seed=0, on_step=die)
    log = train_dpo(CONFIG, load_base(tiny_model), ROWS, tmp_path / "killed", seed=0)
    assert [row["step"] for row in log] == list(range(1, 13))
    whole, killed = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "killed"))
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


def test_the_reference_is_the_base_where_training_begins_elsewhere(
    base: SharedBase, tiny_model: Path, tmp_path: Path
) -> None:
    shared_base.add_random_adapter(base, "before", rank=3)
    base.save_adapter("before", tmp_path / "before")
    gain = preferred(base, "before") - preferred(base, None)
    config = CONFIG.model_copy(update={"steps": 1, "prompts_per_step": 10})
    log = train_dpo(config, load_base(tiny_model), ROWS, tmp_path / "after", seed=0, initial=tmp_path / "before")
    assert log[0]["margin"] == pytest.approx(CONFIG.kl_coefficient * gain, rel=1e-3)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(UserError, match="learns from preferences, and there are none"):
        check_dpo(CONFIG, 0)
    with pytest.raises(UserError, match=r"divides by policy\.kl_coefficient"):
        check_dpo(CONFIG.model_copy(update={"kl_coefficient": 0.0}), 10)
    with pytest.raises(UserError, match=r"prompts_per_step=4 .* cannot be divided among 3 processes"):
        check_dpo(CONFIG, 10, 3)
