"""Mixed-precision training: weights compute in the base's dtype, and AdamW updates their fp32 master copies.

Bfloat16 can hold neither small updates nor a sum of many gradients. So the gradients of micro-batches are summed in
fp32, and the copies are rounded into the weights after each step. Gradients are summed over processes. Losses and
files are not known here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator

Weights = Mapping[str, torch.nn.Parameter]
Copies = Mapping[str, torch.Tensor]


class MasterWeights:
    """Some weights by name, their fp32 copies (`master`), and AdamW on those.

    `groups` are (learning rate, weights); a step may scale all the rates. The copies are of the weights as they are
    given; `dtype`, if any, is what the weights are rounded to from then on.
    """

    def __init__(self, *groups: tuple[float, Weights], dtype: torch.dtype | None = None) -> None:
        self.weights = {name: weight for _, weights in groups for name, weight in weights.items()}
        self.master = {name: weight.detach().float().clone().requires_grad_() for name, weight in self.weights.items()}
        self.optimizer = torch.optim.AdamW(
            [{"params": [self.master[name] for name in weights], "lr": rate} for rate, weights in groups],
            weight_decay=0.0,
        )
        self._rates = [rate for rate, _ in groups]
        self._spent = False  # whether a step has used the gradients of the copies, so that the next sum begins anew
        if dtype is not None:
            for weight in self.weights.values():
                weight.data = weight.data.to(dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a micro-batch's loss to those since the last step, in fp32."""
        loss.backward()  # type: ignore[no-untyped-call]
        self._collect()

    def step(self, accelerator: Accelerator, max_norm: float, scale: float = 1.0) -> float:
        """One AdamW step on the accumulated gradients, summed over processes; returns their norm.

        Gradients are clipped to the norm `max_norm`. If the norm is not finite, nothing is changed.
        """
        self._collect()
        for master in self.master.values():
            if master.grad is None:  # nothing of this process had a gradient
                master.grad = torch.zeros_like(master)
        self._spent = True
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
        for tensor in (*self.weights.values(), *self.master.values()):
            tensor.grad = None

    def state(self) -> dict[str, Any]:
        """What `restore` continues from."""
        return {
            "master": {name: value.detach() for name, value in self.master.items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the copies and the optimizer's moments from `state`."""
        self.put(state["master"])
        self.optimizer.load_state_dict(state["optimizer"])

    def put(self, values: Copies) -> None:
        """Take these copies, and round them into the weights."""
        with torch.no_grad():
            for name, value in values.items():
                self.master[name].copy_(value)
        self._round()

    def copies(self) -> dict[str, torch.Tensor]:
        """The fp32 copies as they are now."""
        return {name: value.detach().clone() for name, value in self.master.items()}

    def _collect(self) -> None:
        """Move the gradients of the weights into the sum."""
        if self._spent:
            self._spent = False
            for master in self.master.values():
                master.grad = None
        for name, weight in self.weights.items():
            if weight.grad is not None:
                master = self.master[name]
                master.grad = weight.grad.float() if master.grad is None else master.grad.add_(weight.grad)
                weight.grad = None

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
