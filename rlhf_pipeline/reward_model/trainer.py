"""TRL's `RewardTrainer` with what it lacks: shared prompts, a stop on NaN, and whole checkpoints.

A checkpoint counts once it holds its mark, which is written last and only if every weight is
finite. Which data, which model and for how long is decided in `train.py`.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.reward_trainer import RewardTrainer

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import sync_folder
from rlhf_pipeline.reward_model.data import Row
from rlhf_pipeline.reward_model.shared_prompt import score_pairs

_WHOLE = "whole"


class PairTrainer(RewardTrainer):
    """A `RewardTrainer` for batches of `SharedPromptCollator` (or its own collator's)."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Bradley-Terry loss with margins, as TRL computes it, from scores of shared sequences."""
        wrapper = self.accelerator.unwrap_model(model).base_model.model.score
        head = wrapper.modules_to_save["default"]

        def forward(**batch: Any) -> Any:
            return score_pairs(model, head, batch)

        result = super().compute_loss(  # type: ignore[no-untyped-call]
            forward if "segments" in inputs else model, inputs, *args, **kwargs
        )
        loss = result[0] if isinstance(result, tuple) else result
        if not torch.isfinite(loss):
            raise _not_a_number("the loss", self.state.global_step + 1)
        return result

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card."""


class ReportSteps(TrainerCallback):
    """Tells `on_step` of every step: `step`, `steps`, and `loss` once one was logged."""

    def __init__(self, on_step: Callable[[Row], None]) -> None:
        self.on_step = on_step
        self.loss: float | None = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember the mean loss since the last entry."""
        self.loss = (logs or {}).get("loss", self.loss)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Pass the step on."""
        self.on_step({"step": state.global_step, "steps": state.max_steps, "loss": self.loss})


class KeepWhole(TrainerCallback):
    """Marks a checkpoint as whole when all of it is on the disk; refuses one with weights that are not numbers."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Sync every file, then write the mark."""
        if not all(bool(p.isfinite().all()) for p in self.model.parameters() if p.requires_grad):
            raise _not_a_number("a weight", state.global_step)
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        for file in folder.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        (folder / _WHOLE).touch()
        sync_folder(folder)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint, None where there is none; half-written ones are removed."""
    whole = {}
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / _WHOLE).is_file():
            whole[int(checkpoint.name.removeprefix("checkpoint-"))] = checkpoint
        else:
            shutil.rmtree(checkpoint)
    return str(whole[max(whole)]) if whole else None


def _not_a_number(what: str, step: int) -> UserError:
    return UserError(
        f"{what} is not a finite number at step {step} of reward training, which was stopped; the last good "
        "checkpoint was kept. Try a lower reward.learning_rate, or dtype=float32."
    )
