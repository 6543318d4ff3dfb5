"""TRL's side: steps of `RLOOTrainer`, timed."""

import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.steps.work import Setting, everyday_prompts


def trl_steps(setting: Setting, steps: int, model: str, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds of each of TRL's steps, those of sampling, and how many tokens it sampled."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RLOOConfig, RLOOTrainer

    from backbone.loading.model_name import resolve_model

    name = resolve_model(model)
    tokenizer = AutoTokenizer.from_pretrained(name)
    judge = AutoModelForSequenceClassification.from_pretrained(
        name, num_labels=1, dtype=getattr(torch, setting.dtype), pad_token_id=tokenizer.pad_token_id
    )
    arguments = RLOOConfig(
        **{
            "output_dir": str(folder / "trl"),
            "max_steps": steps + 1,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": setting.prompts * setting.group // 8,
            "num_generations": setting.group,
            "max_completion_length": setting.tokens,
            "temperature": 1.0,
            "beta": 0.05,
            "learning_rate": 1e-6,
            "bf16": setting.dtype == "bfloat16",
            "model_init_kwargs": {"dtype": setting.dtype},
            "generation_kwargs": {"min_new_tokens": setting.tokens} if setting.forced else None,
            "report_to": "none",
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
            **given,
        }
    )
    trainer = RLOOTrainer(
        model=name,
        reward_funcs=judge,
        reward_processing_classes=tokenizer,
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in everyday_prompts(setting.prompts)]),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    ends: list[float] = []
    spent: dict[str, float] = {"sample": 0.0}
    sampling: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())
            sampling.append(spent["sample"])
            spent["sample"] = 0.0
            print(f"\rTRL: {len(ends)}/{steps + 1}", end="", file=sys.stderr, flush=True)

    generate = trainer._generate

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = generate(*args, **kwargs)
        spent["sample"] += time.perf_counter() - began
        return result

    trainer._generate = timed
    trainer.add_callback(Clock())
    trainer.train()
    print(file=sys.stderr)
    lengths = [row["completions/mean_length"] for row in trainer.state.log_history if "completions/mean_length" in row]
    return {
        "seconds": [after - before for before, after in pairwise(ends)],
        "phases": {"sample": sampling[1:]},
        "tokens": statistics.mean(lengths[1:]) * setting.prompts * setting.group,
    }
