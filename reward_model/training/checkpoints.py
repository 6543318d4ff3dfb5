"""Checkpoints of reward training, so that a killed call goes on where it was, with the same result."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backbone.training.whole_checkpoints import mark_whole
from foundation.errors import UserError
from foundation.files import read_json, write_json
from reward_model.training.early_stopping import KeepBest, trained_weights

_BESIDE, _CHECKS = "beside.safetensors", "checks.json"


def prepare_checkpoints(checkpoints: Path, basis: str) -> Path:
    """Keep checkpoints of the same training; remove those of another (other settings, labels or model)."""
    mark = checkpoints / "basis.json"
    if not mark.is_file() or read_json(mark) != basis:
        shutil.rmtree(checkpoints, ignore_errors=True)
        write_json(mark, basis)
    return checkpoints


class CompleteCheckpoints(TrainerCallback):
    """Adds to each checkpoint what PEFT does not write, and marks it as whole; refuses weights that are not finite.

    PEFT writes adapter and head; what the label model and early stopping know is written beside them.
    """

    def __init__(self, model: nn.Module, best: KeepBest | None = None) -> None:
        self.model, self.best = model, best

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write what PEFT does not know of, then mark the checkpoint as whole."""
        if not all(bool(weight.isfinite().all()) for weight in trained_weights(self.model).values()):
            raise not_finite("a weight", state.global_step)
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        kept = {f"now.{name}": weight.detach() for name, weight in self._labels().items()}
        if self.best:
            kept |= {f"best.{name}": weight for name, weight in self.best.weights.items()}
            write_json(folder / _CHECKS, self.best.checks)
        save_file({name: weight.cpu().contiguous() for name, weight in kept.items()}, folder / _BESIDE)
        mark_whole(folder)

    def restore(self, folder: Path) -> None:
        """Take up what `on_save` wrote beside adapter and head."""
        kept = load_file(folder / _BESIDE)
        for name, weight in self._labels().items():
            weight.data.copy_(kept[f"now.{name}"])
        if self.best:
            self.best.checks = [(int(step), float(loss)) for step, loss in read_json(folder / _CHECKS)]
            self.best.weights = {
                name.removeprefix("best."): weight for name, weight in kept.items() if name.startswith("best.")
            }

    def _labels(self) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in trained_weights(self.model).items() if name.startswith("label_model.")}


class SameOrder(TrainerCallback):
    """Lets the order of an epoch depend on seed and epoch alone: training that was killed goes on in the same order.

    The trainer draws it from the global generator, whose state at the beginning of an epoch no checkpoint holds.
    """

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give the sampler a generator of its own."""
        seed = args.seed + int(state.epoch or 0)
        kwargs["train_dataloader"].batch_sampler.sampler.generator = torch.Generator().manual_seed(seed)


def not_finite(what: str, step: int) -> UserError:
    """The error for a loss or a weight that is not a finite number."""
    return UserError(
        f"{what} is not a finite number at step {step} of reward training, which was stopped; the last good "
        "checkpoint was kept. Try a lower reward.learning_rate, or dtype=float32."
    )
