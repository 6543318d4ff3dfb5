"""PEFT's LoRA layer computed with fewer passes over memory.

PEFT evaluates W x, then B A x, scales it and adds it, each a new tensor as large as the output. Here the side path is
added in place, and the backward pass, written out, adds the adapter's share of the gradient in place too. Weights,
names and files stay PEFT's. PEFT's own code computes what this does not cover: dropout in training, DoRA and other
variants, biases, several adapters at once, other layers than linear ones, quantised bases.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft.tuners.lora import layer as lora
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

LoRAParts = tuple[Tensor, Tensor | None, Tensor, Tensor, float]


class FusedLoRALinear(lora.Linear):
    """A PEFT LoRA layer whose usual case is one autograd function."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """W x + scale B A x for (..., in): (..., out), in the base's dtype."""
        if self.disable_adapters and not self.merged:
            return cast(Tensor, self.base_layer(x))
        parts = None if args or kwargs else self.parts()
        if parts is None:
            return super().forward(x, *args, **kwargs)
        x = x.to(parts[0].dtype)
        if torch.is_grad_enabled():
            return cast(Tensor, _LoRA.apply(x, *parts))  # type: ignore[no-untyped-call]
        return lora_forward(x, *parts)[0]

    def parts(self) -> LoRAParts | None:
        """W, c, A, B and the scale in W's dtype; None if this is not the usual case."""
        name = None if self.disable_adapters else self._alone()
        if name is None:
            return None
        base = cast(nn.Linear, self.base_layer)
        a, b = (cast(Tensor, side[name].weight).to(base.weight.dtype) for side in (self.lora_A, self.lora_B))
        return base.weight, base.bias, a, b, self.scaling[name]

    def _alone(self) -> str | None:
        """The active adapter, if there is exactly one and it is plain."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if len(names) != 1 or self.merged or type(self.base_layer) is not nn.Linear:
            return None
        name = names[0]
        dropped = self.training and not isinstance(self.lora_dropout[name], nn.Identity)
        trained = any(parameter.requires_grad for parameter in self.base_layer.parameters())
        return name if is_plain(self, name) and not dropped and not trained else None


def is_plain(layer: nn.Module, name: str) -> bool:
    """Whether this layer computes W x + c + s B A x and nothing else, with this adapter and without dropout."""
    return (
        type(layer) in (lora.Linear, FusedLoRALinear)
        and type(layer.get_base_layer()) in (nn.Linear, Conv1D)  # type: ignore[operator]
        and name not in cast(lora.Linear, layer).lora_variant
        and type(cast(lora.Linear, layer).lora_A[name]) is nn.Linear
        and cast(lora.Linear, layer).lora_B[name].bias is None
    )


class _LoRA(torch.autograd.Function):
    """y = W x + c + s B A x (Hu et al. 2021, eq. 3), with gradients for x, A and B; W is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        y, rows, narrow = lora_forward(x, weight, bias, a, b, scale)
        ctx.save_for_backward(rows, narrow, weight, a, b)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        rows, narrow, weight, a, b = ctx.saved_tensors
        to_x, to_a, to_b = lora_gradients(gradient, rows, narrow, weight, a, b, ctx.scale, ctx.needs_input_grad[0])
        return to_x, None, None, to_a, to_b, None


def lora_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Y = W x + c + s B A x, and what its gradient needs: the rows of x, and A x."""
    rows = x.reshape(-1, x.shape[-1])
    narrow = rows @ a.T
    y = nn.functional.linear(x, weight, bias)  # not a view of another tensor: models may go on in place
    y.view(-1, y.shape[-1]).addmm_(narrow, b.T, alpha=scale)
    return y, rows, narrow


def lora_gradients(
    gradient: Tensor, rows: Tensor, narrow: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float, through: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of the input (with `through`), of A and of B, given that of the output."""
    slope = gradient.reshape(-1, gradient.shape[-1])
    inner = slope @ b
    to_x = None
    if through:
        to_x = (slope @ weight).addmm_(inner, a, alpha=scale).view(*gradient.shape[:-1], -1)
    return to_x, (rows.T @ inner).T * scale, (narrow.T @ slope).T * scale


def fuse_lora(model: nn.Module) -> None:
    """Let every LoRA layer on a linear one compute this way; layers that already do stay as they are."""
    for module in model.modules():
        if type(module) is lora.Linear and type(module.get_base_layer()) is nn.Linear:
            module.__class__ = FusedLoRALinear


def unfuse_lora(model: nn.Module) -> None:
    """Let PEFT's own code compute again: it calls every layer, which under ZeRO-3 gathers sharded weights."""
    for module in model.modules():
        if type(module) is FusedLoRALinear:
            module.__class__ = lora.Linear  # type: ignore[assignment]


@contextmanager
def unfused_lora(model: nn.Module) -> Iterator[None]:
    """Let LoRA layers compute by PEFT's own code for a while."""
    fused = [module for module in model.modules() if type(module) is FusedLoRALinear]
    try:
        for module in fused:
            module.__class__ = lora.Linear  # type: ignore[assignment]
        yield
    finally:
        for module in fused:
            module.__class__ = FusedLoRALinear
