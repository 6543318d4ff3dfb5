"""LoRA layers, norms and gated MLPs, computed with fewer passes over memory.

PEFT evaluates W x, then B A x, scales it and adds it, each a new tensor as large as the output. Here the side path is
added in place, and the backward pass, written out, adds the adapter's share of the gradient in place as well. Weights,
names and files stay PEFT's. What this does not cover (dropout in training, DoRA, several adapters at once, quantised
bases) is left to PEFT's own code. Of an RMS norm, autograd would keep the input in fp32 and go over it a dozen times on
the way back; written out, it keeps the input as it came and one number a token. Of a gated MLP it would keep four
tensors of its width, where two are enough to compute the others again.
"""

from typing import Any, cast

import torch
from peft.tuners.lora import layer as lora
from torch import Tensor, nn

Parts = tuple[Tensor, Tensor | None, Tensor, Tensor, float]

STEP_ROWS = 32  # responses that decoding takes a step with, about: what `pack` lays weights out for


class FusedLinear(lora.Linear):
    """A PEFT LoRA layer whose usual case is one autograd function."""

    packed: Tensor | None = None  # weights from `pack` to compute with instead of all others, without gradients

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """W x + scale B A x for (..., in): (..., out), in the base's number format."""
        if self.packed is not None:
            bias = cast(nn.Linear, self.base_layer).bias
            return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, self.packed, bias, "none", [], ""))
        if self.disable_adapters and not self.merged:
            return cast(Tensor, self.base_layer(x))
        parts = None if args or kwargs else self.parts()
        if parts is None:
            return super().forward(x, *args, **kwargs)
        x = x.to(parts[0].dtype)
        if torch.is_grad_enabled():
            return cast(Tensor, _LoRA.apply(x, *parts))  # type: ignore[no-untyped-call]
        return _sum(x, *parts)[0]

    def parts(self) -> Parts | None:
        """W, c, A, B and the scale in W's number format; None where this is not the usual case."""
        name = None if self.disable_adapters or self.packed is not None else self._alone()
        if name is None:
            return None
        base = cast(nn.Linear, self.base_layer)
        a, b = (cast(Tensor, side[name].weight).to(base.weight.dtype) for side in (self.lora_A, self.lora_B))
        return base.weight, base.bias, a, b, self.scaling[name]

    def _alone(self) -> str | None:
        """The one plain adapter that is active, if that is the case."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if len(names) != 1 or self.merged or type(self.base_layer) is not nn.Linear:
            return None
        name = names[0]
        plain = name not in self.lora_variant and self.lora_B[name].bias is None
        dropped = self.training and not isinstance(self.lora_dropout[name], nn.Identity)
        return name if plain and not dropped and not self.base_layer.weight.requires_grad else None


class _LoRA(torch.autograd.Function):
    """y = W x + c + s B A x (Hu et al. 2021, eq. 3), with gradients for x, A and B; W is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        y, rows, narrow = _sum(x, weight, bias, a, b, scale)
        ctx.save_for_backward(rows, narrow, weight, a, b)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        rows, narrow, weight, a, b = ctx.saved_tensors
        to_x, to_a, to_b = _slopes(gradient, rows, narrow, weight, a, b, ctx.scale, ctx.needs_input_grad[0])
        return to_x, None, None, to_a, to_b, None


class _GatedLoRA(torch.autograd.Function):
    """y = W h + c + s B A h of h = silu(gate) up, which is computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, gate: Tensor, up: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        y, _, narrow = _sum(nn.functional.silu(gate).mul_(up), weight, bias, a, b, scale)
        ctx.save_for_backward(gate, up, narrow, weight, a, b)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, Tensor, Tensor, None]:
        gate, up, narrow, weight, a, b = ctx.saved_tensors
        through = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        act = nn.functional.silu(gate)
        rows = (act * up).view(-1, up.shape[-1])
        to_h, to_a, to_b = _slopes(gradient, rows, narrow, weight, a, b, ctx.scale, through)
        to_gate = to_up = None
        if to_h is not None:
            to_up = act.mul_(to_h)
            to_gate = torch.ops.aten.silu_backward(to_h.mul_(up), gate)
        return to_gate, to_up, None, None, to_a, to_b, None


def _slopes(
    gradient: Tensor, rows: Tensor, narrow: Tensor, weight: Tensor, a: Tensor, b: Tensor, scale: float, through: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of what went in (with `through`), of A and of B, given that of what came out."""
    slope = gradient.reshape(-1, gradient.shape[-1])
    inner = slope @ b
    to_x = None
    if through:
        to_x = (slope @ weight).addmm_(inner, a, alpha=scale).view(*gradient.shape[:-1], -1)
    return to_x, (rows.T @ inner).T * scale, (narrow.T @ slope).T * scale


def _sum(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y, and what its gradient needs: the rows of x and A x."""
    rows = x.reshape(-1, x.shape[-1])
    narrow = rows @ a.T
    y = nn.functional.linear(rows, weight, bias).addmm_(narrow, b.T, alpha=scale)
    return y.view(*x.shape[:-1], -1), rows, narrow


def pack(weight: Tensor) -> Tensor | None:
    """(out, in) laid out for oneDNN's products in bf16, which else lay it out anew for every token; None elsewhere."""
    here = weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    operators = torch.ops.mkldnn
    known = hasattr(operators, "_reorder_linear_weight") and hasattr(operators, "_linear_pointwise")
    if not (here and built and known and operators._is_mkldnn_bf16_supported()):
        return None
    return cast(Tensor, operators._reorder_linear_weight(weight, STEP_ROWS))


def fuse_lora(model: nn.Module) -> None:
    """Let every plain LoRA layer in `model` compute this way; layers that already do stay as they are."""
    for module in model.modules():
        if type(module) is lora.Linear:
            module.__class__ = FusedLinear


def unfuse_lora(model: nn.Module) -> None:
    """Let PEFT's own code compute again, which calls every layer: where ZeRO-3 shards weights, a call gathers them."""
    for module in model.modules():
        if type(module) is FusedLinear:
            module.__class__ = lora.Linear  # type: ignore[assignment]


class FusedRMSNorm(nn.Module):
    """w x / sqrt(mean x^2 + eps) (Zhang and Sennrich 2019, eq. 4) for (..., d), in fp32 inside."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, x: Tensor) -> Tensor:
        """Rounded to the format of `x` before the product with the weights, as transformers does."""
        return cast(Tensor, _RMSNorm.apply(x, self.weight, self.variance_epsilon))  # type: ignore[no-untyped-call]


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.float32, copy=True)
        inverse = torch.linalg.vecdot(wide, wide)[..., None].div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return wide.mul_(inverse).to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        wide = x.float()
        slope = (gradient * weight).float()
        along = torch.linalg.vecdot(slope, wide)[..., None].mul_(inverse**3).div_(-x.shape[-1])
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = (gradient * wide * inverse).flatten(0, -2).sum(0).to(weight.dtype)
        return slope.mul_(inverse).addcmul_(wide, along).to(x.dtype), to_weight, None


@torch.no_grad()
def fuse_norms(model: nn.Module) -> None:
    """Let the RMS norms in `model` that are of this form compute this way; each is tried on a few numbers first."""
    for module in model.modules():
        kind, weight = type(module), getattr(module, "weight", None)
        named = kind.__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")
        if not named or weight is None or weight.is_meta:
            continue
        tried = torch.linspace(-2, 3, 2 * len(weight), device=weight.device, dtype=weight.dtype).view(2, -1)
        expected = module(tried)
        module.__class__ = FusedRMSNorm
        if not torch.allclose(module(tried), expected, rtol=0.02, atol=1e-3):
            module.__class__ = kind


class FusedMLP(nn.Module):
    """down(silu(gate(x)) up(x)) (Shazeer 2020, eq. 6), whose last layer takes the product in with it."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) to (..., d)."""
        gate, up, down = self.gate_proj(x), self.up_proj(x), self.down_proj
        parts = down.parts() if isinstance(down, FusedLinear) and torch.is_grad_enabled() else None
        if parts is None or gate.dtype != parts[0].dtype:
            return cast(Tensor, down(nn.functional.silu(gate) * up))
        return cast(Tensor, _GatedLoRA.apply(gate, up, *parts))  # type: ignore[no-untyped-call]


@torch.no_grad()
def fuse_mlps(model: nn.Module) -> None:
    """Let the gated MLPs in `model` that are of this form compute this way; each is tried on a few numbers first."""
    for module in model.modules():
        kind = type(module)
        layers = [getattr(module, f"{name}_proj", None) for name in ("gate", "up", "down")]
        plain = all(type(layer) is nn.Linear and not layer.weight.is_meta for layer in layers)
        if not kind.__name__.endswith("MLP") or not plain:
            continue
        weight = cast(nn.Linear, layers[0]).weight
        tried = torch.linspace(-2, 3, 2 * weight.shape[1], device=weight.device, dtype=weight.dtype).view(2, -1)
        expected = module(tried)
        module.__class__ = FusedMLP
        if not (module(tried) - expected).abs().max() <= 1e-3 * expected.abs().max():
            module.__class__ = kind
