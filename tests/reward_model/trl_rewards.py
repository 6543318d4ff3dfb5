"""What TRL's trainer says of the six responses with any reward."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from tests.reward_model.six_responses import COMPLETIONS, PROMPTS


def trl_rewards(reward: Any, model: Path, folder: Path, tokenizer: Any = None) -> torch.Tensor:
    """What TRL's trainer computes for the six responses with this reward, and this tokenizer of the reward model."""
    trainer = RLOOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        reward_funcs=reward,
        reward_processing_classes=tokenizer,
        args=RLOOConfig(
            output_dir=str(folder), num_generations=2, per_device_train_batch_size=2, use_cpu=True, bf16=False,
            report_to="none", activation_checkpointing=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS]),
        processing_class=AutoTokenizer.from_pretrained(model),
    )  # fmt: skip
    found: torch.Tensor = trainer._calculate_rewards([{}] * len(PROMPTS), PROMPTS, COMPLETIONS, [[1]] * len(PROMPTS))
    return found[:, 0]
