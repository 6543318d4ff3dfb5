"""What TRL's trainer says of a few responses with any reward."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from tests.reward_model.six_responses import COMPLETIONS, PROMPTS


def trl_rewards(
    reward: Any,
    model: Path,
    folder: Path,
    tokenizer: Any = None,
    *,
    prompts: Sequence[Any] = PROMPTS,
    completions: Sequence[Any] = COMPLETIONS,
) -> torch.Tensor:
    """What TRL's trainer computes with this reward, and this tokenizer of the reward model; for the six responses,
    unless others are given.
    """
    trainer = RLOOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        reward_funcs=reward,
        reward_processing_classes=tokenizer,
        args=RLOOConfig(
            output_dir=str(folder), num_generations=2, per_device_train_batch_size=2, use_cpu=True, bf16=False,
            report_to="none", activation_checkpointing=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        processing_class=AutoTokenizer.from_pretrained(model),
    )  # fmt: skip
    found: torch.Tensor = trainer._calculate_rewards([{}] * len(prompts), prompts, completions, [[1]] * len(prompts))
    return found[:, 0]
