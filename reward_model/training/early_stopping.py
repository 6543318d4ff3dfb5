"""Early stopping: validation labels are checked on while training, and the best weights are kept."""

from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


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
            self.weights = {name: weight.detach().cpu().clone() for name, weight in trained_weights(self.model).items()}
        steps = [step for step, _ in self.checks]
        if len(steps) - 1 - steps.index(self.best_step) >= self.patience:
            control.should_training_stop = True

    def put_back(self) -> None:
        """Give the model its best weights."""
        for name, weight in trained_weights(self.model).items():
            weight.data.copy_(self.weights[name])


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
