"""Linear layers laid out for decoding, where a step reads all weights for a few rows.

oneDNN lays bf16 weights out anew for each product, unless that was done before. And each product has a price of its
own, however few rows it has: layers that read the same input become one product here, in which a LoRA adapter takes
part as further columns, y = [W, s B] [x; A x] + c. This is for as long as nothing is learned: weights are copied.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from backbone.cpu.lora_layer import FusedLoRALinear

ROWS = 32  # about as many responses as a step has, for which weights are laid out
WORTH = 16  # tokens that each response gets, at least: laying out takes as long as is won in so many steps
_MOST = 5 << 28  # bytes of weights; the copies of a larger model could be what does not fit any more
_TOGETHER = (
    ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("query", "key", "value"), ("w1", "w3"),
)  # fmt: skip  # of one parent; whether they do read the same is seen at each call


class _Parts(NamedTuple):
    """W (out, in), c (out,), A (r, in) and s B (out, r); A and B are None without an adapter."""

    weight: Tensor
    bias: Tensor | None
    a: Tensor | None
    b: Tensor | None


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Let the linear layers of `model` compute this way, without gradients, with the adapter that is active now.

    Does nothing where oneDNN knows no bf16, and leaves layers of other kinds and other dtypes as they are.
    """
    found = _parts(model) if _supported() else {}
    if not _few(each.weight for each in found.values()):
        found = {}
    try:
        for together in list(_together(model, found)):
            group = _Group([found[layer] for layer in together])
            for place, layer in enumerate(together):
                layer.forward = partial(group, place)
        yield
    finally:
        for layer in found:
            vars(layer).pop("forward", None)


def packed_bytes(model: nn.Module) -> int:
    """Bytes that the copies of `model` take on a CPU, whatever device it is on now; 0 if it would be left as it is."""
    weights = [layer.weight for layer in model.modules() if type(layer) is nn.Linear]
    weights = [weight for weight in weights if weight.dtype == torch.bfloat16]
    return sum(weight.nbytes for weight in weights) if _supported() and _few(weights) else 0


class _Group:
    """Layers that read the same input; the first that is asked computes for all."""

    def __init__(self, layers: Sequence[_Parts]) -> None:
        self._sizes = [len(each.weight) for each in layers]
        self._bias = _joined_bias(layers)
        weight = torch.cat([each.weight for each in layers])
        narrow = [each.a for each in layers if each.a is not None]
        self._narrow = _laid_out(torch.cat(narrow)) if narrow else None
        if narrow:
            columns = torch.block_diag(*(_columns(each) for each in layers))  # type: ignore[no-untyped-call]
            weight = torch.cat([weight, columns], dim=1)
        self._weight = _laid_out(weight)
        self._input: Tensor | None = None
        self._version = 0
        self._outputs: dict[int, Tensor] = {}

    def __call__(self, place: int, x: Tensor) -> Tensor:
        """The output (..., out) of the layer at this place for x (..., in)."""
        version = 0 if x.is_inference() else x._version
        if x is not self._input or version != self._version or place not in self._outputs:
            wide = x if self._narrow is None else torch.cat([x, _product(x, self._narrow, None)], dim=-1)
            parts = torch.split_with_sizes(_product(wide, self._weight, self._bias), self._sizes, dim=-1)
            self._outputs = {at: part.contiguous() for at, part in enumerate(parts)}  # no view: some go on in place
            self._input, self._version = x, version
        found = self._outputs.pop(place)
        if not self._outputs:
            self._input = None  # of a long prompt, what all layers keep would be gigabytes
        return found


def _parts(model: nn.Module) -> dict[nn.Module, _Parts]:
    """The layers that can be laid out, and what they compute."""
    inside = {id(module.base_layer) for module in model.modules() if isinstance(module, FusedLoRALinear)}
    found = {}
    for layer in model.modules():
        parts = None
        if isinstance(layer, FusedLoRALinear):
            parts = _of_lora(layer)
        elif type(layer) is nn.Linear and id(layer) not in inside:
            parts = _Parts(layer.weight, layer.bias, None, None)
        here = parts is not None and parts.weight.dtype == torch.bfloat16 and parts.weight.device.type == "cpu"
        if parts and here and "forward" not in vars(layer):  # no hook of another library stands before it
            found[layer] = parts
    return found


def _of_lora(layer: FusedLoRALinear) -> _Parts | None:
    if layer.disable_adapters and not layer.merged:
        base = cast(Any, layer.base_layer)
        return _Parts(base.weight, base.bias, None, None) if type(base) is nn.Linear else None
    if (parts := layer.parts()) is None:
        return None
    weight, bias, a, b, scale = parts
    return _Parts(weight, bias, a, b * scale)


def _together(model: nn.Module, found: dict[nn.Module, _Parts]) -> Iterator[list[nn.Module]]:
    """The layers that are `found`, those that may read the same input together."""
    left = dict.fromkeys(found)
    for parent in model.modules():
        for names in _TOGETHER:
            layers = [layer for name in names if (layer := getattr(parent, name, None)) in left]
            alike = {(found[layer].weight.shape[1], found[layer].bias is None) for layer in layers}
            if len(layers) > 1 and len(alike) == 1:
                for layer in layers:
                    del left[layer]
                yield layers
    yield from ([layer] for layer in left)


def _columns(parts: _Parts) -> Tensor:
    return parts.weight.new_zeros(len(parts.weight), 0) if parts.b is None else parts.b


def _joined_bias(layers: Sequence[_Parts]) -> Tensor | None:
    biases = [each.bias for each in layers if each.bias is not None]
    return torch.cat(biases) if biases else None


def _few(weights: Iterable[Tensor]) -> bool:
    return sum(weight.nbytes for weight in weights) <= _MOST


def _supported() -> bool:
    built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    operators = torch.ops.mkldnn
    known = hasattr(operators, "_reorder_linear_weight") and hasattr(operators, "_linear_pointwise")
    return bool(built and known and operators._is_mkldnn_bf16_supported())


def _laid_out(weight: Tensor) -> Tensor:
    return cast(Tensor, torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS))


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))
