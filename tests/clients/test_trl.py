"""TRL's trainers start from every export, and from the reward model, and take a step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from tests.reward_model.planted import planted

ARGUMENTS = {
    "per_device_train_batch_size": 2, "report_to": "none", "use_cpu": True, "bf16": False, "max_steps": 1,
    "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "activation_checkpointing": False,
    "learning_rate": 1e-2,
}  # fmt: skip
ONLINE = ARGUMENTS | {"num_generations": 2, "max_completion_length": 8}
PAIRS = planted(4)
PROMPTS = [{"prompt": pair["prompt"]} for pair in PAIRS]


def dpo(model: Any, reward: str, folder: str) -> Any:
    return DPOTrainer(model, args=DPOConfig(folder, **ARGUMENTS), train_dataset=Dataset.from_list(PAIRS))


def grpo(model: Any, reward: str, folder: str) -> Any:
    return GRPOTrainer(model, reward, args=GRPOConfig(folder, **ONLINE), train_dataset=Dataset.from_list(PROMPTS))


def rloo(model: Any, reward: str, folder: str) -> Any:
    return RLOOTrainer(model, reward, args=RLOOConfig(folder, **ONLINE), train_dataset=Dataset.from_list(PROMPTS))


@pytest.mark.parametrize(("make", "figure"), [(dpo, "logps/chosen"), (grpo, "rewards/merged/mean"), (rloo, "reward")])
def test_a_trainer_starts_from_the_adapter_and_from_the_merged_model(
    make: Callable[..., Any], figure: str, adapter: Path, merged: Path, merged_reward: Path, tmp_path: Path
) -> None:
    found = {}
    for start in (adapter, merged):
        model: Any = str(start)
        if start == adapter:  # TRL reads a path as that of a whole model
            model = AutoPeftModelForCausalLM.from_pretrained(adapter, is_trainable=True, dtype=torch.float32)
        trainer = make(model, str(merged_reward), str(tmp_path))
        weights = dict(trainer.model.named_parameters())
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        trainer.train()
        changed = {name for name, weight in weights.items() if not torch.equal(weight, before[name])}
        assert changed == {name for name, weight in weights.items() if weight.requires_grad}
        assert (len(changed) < len(weights)) == (start == adapter)
        found[start] = trainer.state.log_history[0][figure]
    assert found[adapter] == pytest.approx(found[merged], abs=1e-3)
