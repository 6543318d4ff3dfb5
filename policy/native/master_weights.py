"""Mixed-precision training: weights compute in the base's dtype, and AdamW updates their fp32 master copies.

Bfloat16 cannot hold small updates, so the copies are rounded into the weights after each step. Gradients are summed
over processes. Losses and files are not known here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator

Weights = Mapping[str, torch.nn.Parameter]


class MasterWeights:
    """Some weights by name, their fp32 copies (`master`), and AdamW on those.

    `groups` are (learning rate, weights); a step may scale all the rates.
    """

    def __init__(self, *groups: tuple[float, Weights]) -> None:
        self.weights = {name: weight for _, weights in groups for name, weight in weights.items()}
        self.master = {name: weight.detach().float().clone().requires_grad_() for name, weight in self.weights.items()}
        self.optimizer = torch.optim.AdamW(
            [{"params": [self.master[name] for name in weights], "lr": rate} for rate, weights in groups],
            weight_decay=0.0,
        )
        self._rates = [rate for rate, _ in groups]

    def step(self, accelerator: Accelerator, max_norm: float, scale: float = 1.0) -> float:
        """One AdamW step on the accumulated gradients, summed over processes; returns their norm.

        Gradients are clipped to the norm `max_norm`. If the norm is not finite, nothing is changed.
        """
        for name, weight in self.weights.items():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            self.master[name].grad, weight.grad = gradient.float(), None
        sum_gradients(list(self.master.values()), accelerator)
        norm = torch.nn.utils.clip_grad_norm_(list(self.master.values()), max_norm)
        if bool(norm.isfinite()):
            for settings, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                settings["lr"] = rate * scale
            self.optimizer.step()
            self._round()
        return float(norm)

    def zero_grad(self) -> None:
        """Discard the accumulated gradients."""
        for weight in self.weights.values():
            weight.grad = None

    def state(self) -> dict[str, Any]:
        """What `restore` continues from."""
        return {
            "master": {name: value.detach() for name, value in self.master.items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the copies and the optimizer's moments from `state`."""
        with torch.no_grad():
            for name, value in state["master"].items():
                self.master[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self._round()

    def _round(self) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.master[name])


def sum_gradients(parameters: Sequence[torch.Tensor], accelerator: Accelerator) -> None:
    """Add the gradients of all processes, in one message."""
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduction="sum")
    for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
