"""Direct preference optimisation by TRL's `DPOTrainer`: policy.algorithm=dpo, the offline alternative.

It learns from preference rows alone: there is no reward model, nothing is sampled, and the pairs are those that were
judged, not what the policy would say now. `policy.kl_coefficient` is beta of the same objective, max E[r] - beta KL,
whose solution DPO fits directly (Rafailov et al. 2023, eq. 3 and 7). Weights, margins and soft labels are not used.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from backbone.adapters import SharedBase
from backbone.tokens import Renderer
from backbone.training.one_gpu import on_one_gpu
from backbone.training.quiet_libraries import quiet
from foundation.errors import UserError
from policy.config import PolicyConfig
from policy.trl.adapter_trainer import (
    AdapterTrainer,
    LogAndCheckpoint,
    Row,
    add_trained_adapter,
    finite_metrics,
    micro_batches,
    process_state,
    train_and_save,
    training_arguments,
)

_METRICS = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "logps/chosen": "logprob_chosen",
    "logps/rejected": "logprob_rejected",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
}


def train_dpo(
    config: PolicyConfig,
    base: SharedBase,
    rows: Sequence[Row],
    folder: Path,
    *,
    seed: int,
    initial: Path | None = None,
    on_step: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Tune an adapter on `base` with preference rows, write it to `folder`, and return the log, one row per step.

    A step is one update on `prompts_per_step` pairs, over all processes; the reference is the base, even if
    training starts from an adapter (`initial`). `folder` is where a killed call left its checkpoints, or empty.
    """
    count = process_state(base.device).num_processes
    check_dpo(config, len(rows), count)
    pairs = pairs_of(rows, base.renderer)
    add_trained_adapter(config, base, seed, initial)
    size, steps = micro_batches(config, config.prompts_per_step // count)
    given = training_arguments(config, base, folder, seed, updates=1, micro_batch=size, accumulate=steps)
    with quiet():
        watch = LogAndCheckpoint(config, base, folder, lambda logs: finite_metrics(logs, _METRICS), on_step)
        trainer = _DPO(
            model=base.peft_model,
            args=on_one_gpu(DPOConfig(**given, beta=config.kl_coefficient, max_length=None)),
            train_dataset=Dataset.from_list(pairs),
            processing_class=base.tokenizer,
            callbacks=[watch],
        )
        trainer.config, trainer.updates = config, 1
        return train_and_save(trainer, base, folder, watch)


def check_dpo(config: PolicyConfig, pairs: int, processes: int = 1) -> None:
    """Refuse, before any model is loaded, what cannot work."""
    if not pairs:
        raise UserError(
            "policy.algorithm=dpo learns from preferences, and there are none on training prompts. Collect some with "
            "`rlhf label`, or bring existing ones with `rlhf import --format FORMAT FILE`."
        )
    if not config.kl_coefficient:
        raise UserError("policy.algorithm=dpo divides by policy.kl_coefficient, which is 0. Give it a value, as 0.1.")
    if config.prompts_per_step % processes:
        raise UserError(
            f"policy.prompts_per_step={config.prompts_per_step} (pairs, for dpo) cannot be divided among {processes} "
            f"processes. Use a multiple of {processes}."
        )


def pairs_of(rows: Sequence[Row], renderer: Renderer) -> list[dict[str, list[int]]]:
    """Token ids of each pair, as everywhere in this project; pairs longer than the context are left out."""
    pairs = []
    for row in rows:
        prompt = renderer.prompt_ids(row["prompt"])
        chosen, rejected = (renderer.response_ids(str(row[side][-1]["content"])) for side in ("chosen", "rejected"))
        if len(prompt) + max(len(chosen), len(rejected)) <= renderer.max_length:
            pairs.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    if not pairs:
        raise UserError(
            f"none of the {len(rows)} preference pairs fits into the context of {renderer.max_length} tokens."
        )
    return pairs


class _DPO(AdapterTrainer, DPOTrainer):
    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset  # of token ids already
