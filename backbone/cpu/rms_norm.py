"""RMS norms that keep their input and one number per token for the backward pass.

Autograd would keep the input in fp32 and go over it a dozen times on the way back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


class FusedRMSNorm(nn.Module):
    """w x / sqrt(mean x^2 + eps) (Zhang and Sennrich 2019, eq. 4) for (..., d), in fp32 inside."""

    weight: Tensor
    variance_epsilon: float
    plain_class: type[nn.Module]

    def forward(self, x: Tensor) -> Tensor:
        """Rounded to the dtype of `x` before the product with the weights, as transformers does."""
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
    """Let the RMS norms of `model` that have this form compute this way; each is tried on a few numbers first."""
    for module in model.modules():
        kind, weight = type(module), getattr(module, "weight", None)
        named = kind.__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")
        if not named or weight is None or weight.is_meta:
            continue
        tried = torch.linspace(-2, 3, 2 * len(weight), device=weight.device, dtype=weight.dtype).view(2, -1)
        expected = module(tried)
        module.plain_class = kind  # type: ignore[assignment]
        module.__class__ = FusedRMSNorm
        if not torch.allclose(module(tried), expected, rtol=0.02, atol=1e-3):
            module.__class__ = kind


@contextmanager
def unfused_norms(model: nn.Module) -> Iterator[None]:
    """Let the norms compute by their own code."""
    fused = [module for module in model.modules() if type(module) is FusedRMSNorm]
    try:
        for module in fused:
            module.__class__ = module.plain_class  # type: ignore[assignment]
        yield
    finally:
        for module in fused:
            module.__class__ = FusedRMSNorm
