"""The settings of the reward stage as the arguments of TRL's `RewardTrainer`."""

from pathlib import Path

import torch
from trl.trainer.reward_config import RewardConfig as TrainerArguments

from backbone.training.one_gpu import on_one_gpu
from reward_model.config import RewardConfig
from reward_model.training.processes import Processes
from reward_model.training.sequences import SequenceSet


def trl_arguments(
    config: RewardConfig,
    data: SequenceSet,
    dtype: torch.dtype,
    device: torch.device,
    checkpoints: Path,
    seed: int,
    processes: Processes,
) -> TrainerArguments:
    """Batches hold about `batch_size` labels; the learning rate falls along a cosine after the warm-up.

    The main one of several processes alone writes checkpoints and tells a tracker.
    """
    sequences = config.batch_size * len(data.dataset) / data.labels  # that hold a batch of labels
    micro = min(config.micro_batch, max(1, round(sequences)))
    passes = max(1, round(sequences / micro))
    arguments = TrainerArguments(
        output_dir=str(checkpoints),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(config.warmup * config.epochs * len(data.dataset) / (micro * passes)),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=passes,
        prediction_loss_only=True,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        max_length=None,
        remove_unused_columns=False,
        center_rewards_coefficient=config.center_rewards_coefficient,
        gradient_checkpointing=False,  # `train.py` does it, without dropout
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=device.type == "cpu",
        save_strategy="steps" if processes.is_main else "no",
        save_steps=config.checkpoint_every,
        save_total_limit=2,
        logging_steps=config.log_every,
        report_to=config.tracker if processes.is_main else "none",
        disable_tqdm=True,
        dataloader_pin_memory=device.type != "cpu",
        seed=seed,
        accelerator_config={"use_configured_state": processes.size > 1},
    )
    return on_one_gpu(arguments, processes.device)
