"""TRL's `RewardTrainer` with labels of every kind and shared prompts: its loss and its collator are replaced.

Which data, which model and for how long is decided in `train.py`.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from backbone.adapters import SharedBase
from reward_model.labels.label_model import LabelModel
from reward_model.labels.records import Row
from reward_model.training.batch_layouts import last_states_of
from reward_model.training.checkpoints import not_finite
from reward_model.training.early_stopping import trained_weights
from reward_model.training.processes import Processes


class LabelTrainer(RewardTrainer):
    """A `RewardTrainer` for batches of `LabelCollator`, of a PEFT model with a `label_model` attached.

    The model is that of `base`, a causal one with a score head, which reads its final states.
    """

    def __init__(self, base: SharedBase, processes: Processes, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base, self.processes = base, processes

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Negative log-likelihood of the labels and, in training, centring: in nats a sequence.

        In training it is this process's part of it, in evaluation that of all.
        """
        whole = self.accelerator.unwrap_model(model)
        head = whole.base_model.model.score.modules_to_save["default"]
        labels = cast(LabelModel, whole.label_model)
        with self.accelerator.autocast():  # forward has it, but would compute logits over the vocabulary
            states = last_states_of(self.base, inputs)
        with torch.autocast(states.device.type, enabled=False):
            scores = labels.scores(states, head)
            loss = labels(scores, inputs)
            coefficient = cast(RewardConfig, self.args).center_rewards_coefficient
            if model.training and coefficient:
                groups = int(inputs["group"].max()) + 1
                centre = sum(centring(column, inputs["group"], groups) for column in scores.unbind(1))
                loss = loss + coefficient * centre
            loss = loss * inputs["mine"].float().mean()
        if not torch.isfinite(loss):
            raise not_finite("the loss", self.state.global_step + 1)
        self._remember(scores.detach(), inputs, "train" if model.training else "eval")
        if not model.training:
            loss = self.processes.total(loss.detach()[None])[0]
        return (loss, {"scores": scores}) if return_outputs else loss

    def _remember(self, scores: Tensor, inputs: Any, mode: str) -> None:
        """Figures for the log, by the names that TRL gives them."""
        margins = scores.new_zeros(0)
        if "pairs" in inputs and inputs["mine"].any():
            first, second = (scores[one, inputs["pair_heads"]] for one in inputs["pairs"].unbind(1))
            sign = torch.sign(inputs["pair_values"][:, 0] - 0.5)
            margins = (sign * (first - second))[sign != 0]
        sums = torch.stack([(margins > 0).float().sum(), margins.sum(), margins.new_tensor(len(margins))])
        right, margin, count = self.processes.total(sums).tolist()
        if count:
            self._metrics[mode]["accuracy"].append(right / count)
            self._metrics[mode]["margin"].append(margin / count)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The loss of a batch; its gradients are added up over processes when the step's last one is done."""
        loss = cast(Tensor, super().training_step(model, inputs, num_items_in_batch))  # type: ignore[no-untyped-call]
        if self.accelerator.sync_gradients:
            self.processes.add_gradients(trained_weights(model).values())
        return self.processes.total(loss[None])[0].to(loss)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card."""


def centring(scores: Tensor, group: Tensor, groups: int) -> Tensor:
    """The mean over groups of responses of (2 x their mean score)^2: one number, squared score units.

    `scores` (n,); `group` (n,) says to which of so many `groups` each belongs. For pairs this is (s1 + s2)^2, as in
    Eisenstein et al. 2023, eq. 2.
    """
    zero = scores.new_zeros(groups)
    total, count = zero.index_add(0, group, scores), zero.index_add(0, group, torch.ones_like(scores))
    return (2 * total / count.clamp(min=1)).square().sum() / groups


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
