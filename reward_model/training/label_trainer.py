"""TRL's `RewardTrainer` with what it lacks: labels of every kind, shared prompts, early stopping, whole checkpoints.

Only its loss and its collator are replaced. A checkpoint counts once it holds its mark, which is written last and only
if every weight is finite. Which data, which model and for how long is decided in `train.py`.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from foundation.errors import UserError
from foundation.files import read_json, sync_folder, write_json
from reward_model.labels.data import Row
from reward_model.labels.likelihood import LabelModel
from reward_model.labels.losses import centring
from reward_model.training.layouts import last_states

_WHOLE = "whole"
_BESIDE, _CHECKS = "beside.safetensors", "checks.json"


class LabelTrainer(RewardTrainer):
    """A `RewardTrainer` for batches of `LabelCollator`, of a PEFT model with a `label_model` attached."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Negative log-likelihood of the labels and, in training, centring: in nats a sequence."""
        whole = self.accelerator.unwrap_model(model)
        head = whole.base_model.model.score.modules_to_save["default"]
        labels = cast(LabelModel, whole.label_model)
        states = last_states(model, head, inputs)
        with torch.autocast(states.device.type, enabled=False):
            scores = labels.scores(states, head)
            loss = labels(scores, inputs)
            coefficient = cast(RewardConfig, self.args).center_rewards_coefficient
            if model.training and coefficient:
                groups = int(inputs["group"].max()) + 1
                centre = sum(centring(column, inputs["group"], groups) for column in scores.unbind(1))
                loss = loss + coefficient * centre
        if not torch.isfinite(loss):
            raise _not_a_number("the loss", self.state.global_step + 1)
        self._remember(scores.detach(), inputs, "train" if model.training else "eval")
        return (loss, {"scores": scores}) if return_outputs else loss

    def _remember(self, scores: Tensor, inputs: Any, mode: str) -> None:
        """Figures for the log, those of TRL's that `train.py` keeps."""
        if "pairs" in inputs:
            first, second = (scores[one, inputs["pair_heads"]] for one in inputs["pairs"].unbind(1))
            sign = torch.sign(inputs["pair_values"][:, 0] - 0.5)
            if sign.any():
                margins = (sign * (first - second))[sign != 0]
                self._metrics[mode]["accuracy"].append((margins > 0).float().mean().item())
                self._metrics[mode]["margin"].append(margins.mean().item())

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


class KeepBest(TrainerCallback):
    """Early stopping (Prechelt 1998): every so many steps, how likely validation labels are; the best weights are kept.

    `checks` are the steps of the checks so far, each with the negative log-likelihood of a validation sequence.
    """

    def __init__(self, model: nn.Module, every: int, patience: int) -> None:
        self.model, self.every, self.patience = model, every, patience
        self.checks: list[tuple[int, float]] = []
        self.weights: dict[str, Tensor] = {}

    @property
    def best_step(self) -> int:
        """The step whose weights are kept."""
        return min(self.checks, key=lambda check: check[1])[0]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a check."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            control.should_evaluate = True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the weights if they are the best, stop if that was too long ago."""
        self.checks.append((state.global_step, float((metrics or {})["eval_loss"])))
        if self.best_step == state.global_step:
            self.weights = {name: weight.detach().cpu().clone() for name, weight in _trained(self.model).items()}
        steps = [step for step, _ in self.checks]
        if len(steps) - 1 - steps.index(self.best_step) >= self.patience:
            control.should_training_stop = True

    def put_back(self) -> None:
        """Give the model its best weights."""
        for name, weight in _trained(self.model).items():
            weight.data.copy_(self.weights[name])


class KeepWhole(TrainerCallback):
    """Completes a checkpoint, and marks it as whole when all of it is on the disk; refuses weights that are no numbers.

    PEFT writes adapter and head; what the label model and early stopping know is written beside them.
    """

    def __init__(self, model: nn.Module, best: KeepBest | None = None) -> None:
        self.model, self.best = model, best

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Sync every file, then write the mark."""
        if not all(bool(weight.isfinite().all()) for weight in _trained(self.model).values()):
            raise _not_a_number("a weight", state.global_step)
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        kept = {f"now.{name}": weight.detach() for name, weight in self._labels().items()}
        if self.best:
            kept |= {f"best.{name}": weight for name, weight in self.best.weights.items()}
            write_json(folder / _CHECKS, self.best.checks)
        save_file({name: weight.cpu().contiguous() for name, weight in kept.items()}, folder / _BESIDE)
        for file in folder.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        (folder / _WHOLE).touch()
        sync_folder(folder)

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
        return {name: weight for name, weight in _trained(self.model).items() if name.startswith("label_model.")}


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint, None where there is none; half-written ones are removed."""
    whole = {}
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / _WHOLE).is_file():
            whole[int(checkpoint.name.removeprefix("checkpoint-"))] = checkpoint
        else:
            shutil.rmtree(checkpoint)
    return str(whole[max(whole)]) if whole else None


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _not_a_number(what: str, step: int) -> UserError:
    return UserError(
        f"{what} is not a finite number at step {step} of reward training, which was stopped; the last good "
        "checkpoint was kept. Try a lower reward.learning_rate, or dtype=float32."
    )
