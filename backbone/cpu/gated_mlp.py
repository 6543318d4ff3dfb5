"""Gated MLPs that keep two tensors of their width for the backward pass instead of four; the others are recomputed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from backbone.cpu.lora_layer import FusedLoRALinear, lora_forward, lora_gradients


class FusedMLP(nn.Module):
    """down(silu(gate(x)) up(x)) (Shazeer 2020, eq. 6), whose last layer takes the product in with it."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module
    plain_class: type[nn.Module]

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) to (..., d)."""
        gate, up, down = self.gate_proj(x), self.up_proj(x), self.down_proj
        parts = down.parts() if isinstance(down, FusedLoRALinear) and torch.is_grad_enabled() else None
        if parts is None or gate.dtype != parts[0].dtype:
            return cast(Tensor, down(nn.functional.silu(gate) * up))
        return cast(Tensor, _GatedLoRA.apply(gate, up, *parts))  # type: ignore[no-untyped-call]


class _GatedLoRA(torch.autograd.Function):
    """y = W h + c + s B A h of h = silu(gate) up, which is recomputed in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, gate: Tensor, up: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        y, _, narrow = lora_forward(nn.functional.silu(gate).mul_(up), weight, bias, a, b, scale)
        ctx.save_for_backward(gate, up, narrow, weight, a, b)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, Tensor, Tensor, None]:
        gate, up, narrow, weight, a, b = ctx.saved_tensors
        through = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        act = nn.functional.silu(gate)
        rows = (act * up).view(-1, up.shape[-1])
        to_h, to_a, to_b = lora_gradients(gradient, rows, narrow, weight, a, b, ctx.scale, through)
        to_gate = to_up = None
        if to_h is not None:
            to_up = act.mul_(to_h)
            to_gate = torch.ops.aten.silu_backward(to_h.mul_(up), gate)
        return to_gate, to_up, None, None, to_a, to_b, None


@torch.no_grad()
def fuse_mlps(model: nn.Module) -> None:
    """Let the gated MLPs of `model` that have this form compute this way; each is tried on a few numbers first."""
    for module in model.modules():
        kind = type(module)
        layers = [getattr(module, f"{name}_proj", None) for name in ("gate", "up", "down")]
        plain = all(type(layer) is nn.Linear and not layer.weight.is_meta for layer in layers)
        if not kind.__name__.endswith("MLP") or not plain:
            continue
        weight = cast(nn.Linear, layers[0]).weight
        tried = torch.linspace(-2, 3, 2 * weight.shape[1], device=weight.device, dtype=weight.dtype).view(2, -1)
        expected = module(tried)
        module.plain_class = kind  # type: ignore[assignment]
        module.__class__ = FusedMLP
        if not (module(tried) - expected).abs().max() <= 1e-3 * expected.abs().max():
            module.__class__ = kind


@contextmanager
def unfused_mlps(model: nn.Module) -> Iterator[None]:
    """Let the MLPs compute by their own code."""
    fused = [module for module in model.modules() if type(module) is FusedMLP]
    try:
        for module in fused:
            module.__class__ = module.plain_class  # type: ignore[assignment]
        yield
    finally:
        for module in fused:
            module.__class__ = FusedMLP
