"""The same batch given to TRL's trainers and to this project's: advantages, losses, and the gradient of a whole step.

TRL samples, scores and weighs by its own code; here only the token ids that it drew are taken over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from backbone.adapter_folder import WEIGHTS
from backbone.adapters import SharedBase, lora_config
from backbone.logprobs import response_logprobs
from backbone.training.quiet_libraries import quiet
from policy.algorithms.advantages import group_advantages
from policy.algorithms.kl import kl_estimate, kl_loss
from policy.algorithms.losses import aggregate, clipped_surrogate
from policy.algorithms.registry import ALGORITHMS, Experience
from policy.algorithms.token_rewards import token_rewards
from policy.config import PolicyConfig
from policy.native import train
from policy.native.rollout import Rollout
from policy.native.training_state import initial_state
from tests import shared_base
from tests.policy.tiny_run import PROMPTS, LowIds

GROUP, TOKENS, TEMPERATURE = 3, 8, 0.7
ASKED = [prompt for prompt in PROMPTS[:4] for _ in range(GROUP)]


def judged(completion_ids: Sequence[list[int]], **columns: Any) -> list[float]:
    """One of TRL's reward functions."""
    return [10 * score for score in LowIds().score([], completion_ids).tolist()]


@dataclass
class Batch:
    """What TRL made of one batch, and its trainer."""

    trainer: Any
    made: dict[str, Any]
    response_ids: list[list[int]]

    @property
    def advantages(self) -> torch.Tensor:
        found: torch.Tensor = self.made["advantages"]
        return found

    def gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """TRL's loss of this batch, and its gradient by the names of the adapter's folder."""
        loss = self.trainer._compute_loss(self.trainer.model, self.made)
        loss.backward()
        named = self.trainer.model.named_parameters()
        return loss.item(), {
            name.replace(".default.", "."): weight.grad for name, weight in named if weight.grad is not None
        }


@pytest.fixture
def ours(tiny_model: Path) -> SharedBase:
    """The base with an adapter that differs from it visibly."""
    base = shared_base.load(tiny_model)
    shared_base.add_random_adapter(base, "policy", trainable=True)
    return base


@pytest.fixture
def batch_of(ours: SharedBase, tiny_model: Path, tmp_path: Path) -> Any:
    """A trainer of TRL with the same adapter, and a batch that it drew and weighed."""
    ours.save_adapter("policy", tmp_path / "adapter")

    def draw(kind: type, configured: type, **settings: Any) -> Batch:
        common = {
            "num_generations": GROUP,
            "max_completion_length": TOKENS,
            "temperature": TEMPERATURE,
            "per_device_train_batch_size": len(ASKED),
            "output_dir": str(tmp_path),
            "report_to": "none",
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "disable_tqdm": True,
            "seed": 5,
        }
        with quiet():
            trainer = kind(
                model=AutoModelForCausalLM.from_pretrained(tiny_model),
                reward_funcs=[judged],
                args=configured(**common, **settings),
                train_dataset=Dataset.from_dict({"prompt": PROMPTS[:4]}),
                processing_class=AutoTokenizer.from_pretrained(tiny_model),
                peft_config=lora_config(4, 8),
            )
            set_peft_model_state_dict(trainer.model, load_file(tmp_path / "adapter" / WEIGHTS))
            trainer._tokenize_prompts = lambda prompts: (prompts, None, {})  # they are ids already
            trainer.model.train()
            trainer.current_gradient_accumulation_steps = 1
            made = trainer._generate_and_score_completions([{"prompt": prompt} for prompt in ASKED])
        lengths = made["completion_mask"].sum(1).tolist()
        rows = zip(made["completion_ids"].tolist(), lengths, strict=True)
        return Batch(trainer, made, [ids[:length] for ids, length in rows])

    return draw


@dataclass
class Known:
    """The same batch as this project sees it."""

    now: Any
    ref_logprobs: torch.Tensor
    scores: torch.Tensor
    finished: torch.Tensor

    def rewards(self, beta: float) -> torch.Tensor:
        kl = kl_estimate(self.now.logprobs.detach(), self.ref_logprobs, "k1")
        return token_rewards(self.scores, kl, self.now.mask, self.finished, kl_coefficient=beta)


def known(ours: SharedBase, response_ids: list[list[int]]) -> Known:
    with torch.no_grad():
        reference = response_logprobs(ours, ASKED, response_ids, TEMPERATURE).logprobs
    with ours.using("policy"):
        now = response_logprobs(ours, ASKED, response_ids, TEMPERATURE)
    finished = torch.tensor([ids[-1] in ours.renderer.eos_ids for ids in response_ids])
    return Known(now, reference, torch.tensor(judged(response_ids)), finished)


@pytest.fixture
def step_of(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The gradient of a whole `train_step` on a batch, in micro-batches, with the adapter that TRL has."""

    def step(batch: Batch, seen: Known, **settings: Any) -> dict[str, torch.Tensor]:
        rollout = Rollout(
            list(range(len(ASKED))),
            ASKED,
            batch.response_ids,
            seen.now.logprobs.detach(),
            seen.ref_logprobs,
            seen.now.mask,
            seen.scores,
            seen.finished,
            {},
        )
        monkeypatch.setattr(train, "roll_out", lambda *given, **more: rollout)
        config = PolicyConfig(
            prompts_per_step=4,
            group=GROUP,
            max_new_tokens=TOKENS,
            temperature=TEMPERATURE,
            kl_target=None,
            length_control="none",
            missing_eos_penalty=0.0,
            micro_batch=5,
            max_grad_norm=1e9,
            **settings,
        )
        base = shared_base.load(tiny_model)
        state = initial_state(config, base, 0, tmp_path / "adapter")
        train.train_step(config, base, LowIds(), PROMPTS[:4], state, 0, Accelerator(cpu=True))
        return {name: weight.grad for name, weight in state.policy.master.items() if weight.grad is not None}

    return step


def assert_same(found: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert found.keys() == theirs.keys()
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    assert largest > 1e-3
    for name, gradient in theirs.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4 * largest, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_rloo_weighs_and_learns_as_trl_does(ours: SharedBase, batch_of: Any, step_of: Any, beta: float) -> None:
    batch = batch_of(RLOOTrainer, RLOOConfig, beta=beta)
    seen = known(ours, batch.response_ids)
    advantages = ALGORITHMS["rloo"].advantages(Experience(seen.rewards(beta), seen.now.mask, group=GROUP))
    assert batch.advantages.std() > 0.5
    torch.testing.assert_close(advantages[:, 0], batch.advantages, atol=2e-5, rtol=1e-5)
    assert_same(step_of(batch, seen, algorithm="rloo", kl_coefficient=beta), batch.gradients()[1])


# With its default, TRL multiplies k3 with the ratio of probabilities: on policy, the gradient of k2 to the last digit.
GRPO = [(0.0, True, "k2"), (0.3, True, "k2"), (0.3, False, "k3")]


@pytest.mark.parametrize(("name", "scaled"), [("grpo", "group"), ("dr_grpo", "none")])
@pytest.mark.parametrize(("beta", "corrected", "estimator"), GRPO)
def test_grpo_and_dr_grpo_weigh_and_learn_as_trl_does(
    ours: SharedBase,
    batch_of: Any,
    step_of: Any,
    name: str,
    scaled: str,
    beta: float,
    corrected: bool,
    estimator: Any,
) -> None:
    settings = {"loss_type": name, "scale_rewards": scaled, "use_bias_correction_kl": corrected}
    batch = batch_of(GRPOTrainer, GRPOConfig, beta=beta, **settings)
    seen = known(ours, batch.response_ids)
    entry, mask = ALGORITHMS[name], seen.now.mask
    advantages = entry.advantages(Experience(seen.rewards(0.0), mask, group=GROUP))
    assert batch.advantages.std() > 0.5
    torch.testing.assert_close(advantages[:, 0], batch.advantages, atol=2e-5, rtol=1e-5)
    loss, gradients = batch.gradients()
    terms = clipped_surrogate(seen.now.logprobs, seen.now.logprobs, advantages, clip=0.2)
    terms = terms + beta * kl_loss(seen.now.logprobs, seen.ref_logprobs, mask, "k3")
    value = aggregate(terms, mask, len(ASKED), entry.aggregation, max_tokens=TOKENS)
    assert value.item() == pytest.approx(loss, abs=1e-5)
    assert_same(step_of(batch, seen, algorithm=name, kl_coefficient=beta, kl_estimator=estimator), gradients)


def test_a_group_of_equal_rewards_has_no_advantage_in_either(batch_of: Any) -> None:
    def level(completion_ids: Sequence[list[int]], **columns: Any) -> list[float]:
        return [2.5] * len(completion_ids)

    batch = batch_of(GRPOTrainer, GRPOConfig, beta=0.0)
    batch.trainer.reward_funcs = [level]
    with quiet():
        made = batch.trainer._generate_and_score_completions([{"prompt": prompt} for prompt in ASKED])
    assert made["advantages"].tolist() == [0.0] * len(ASKED)
    for scale in (True, False):
        assert group_advantages(torch.full((len(ASKED),), 2.5), GROUP, scale).tolist() == [0.0] * len(ASKED)
