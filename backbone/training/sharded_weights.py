"""A base whose decoder layers are divided among processes, each of which keeps its shard of every layer (FSDP2).

A layer is gathered while it computes, forward and backward, so all processes have to compute at the same time, each on
what it likes. Adapters and heads, which come later, are whole in every process, and so is what is not in a layer:
embeddings and norms. Whether weights are divided is said by the launcher; trainers that divide them by themselves
(`policy/trl`) only ask.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.loading.devices import choose_dtype
from backbone.loading.settings import Quantization
from backbone.templates.plain_text import TemplateChoice
from foundation.errors import UserError

_FSDP, _DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
_OFFLOAD, _LOADED_BY_ONE = "FSDP_OFFLOAD_PARAMS", "FSDP_CPU_RAM_EFFICIENT_LOADING"


def sharded() -> bool:
    """Whether the launcher shards weights among processes; the base is then loaded on the CPU first."""
    return _true(_FSDP) or _true(_DEEPSPEED)


def check_not_quantized(quantization: Quantization | None) -> None:
    """`UserError` for a quantised base, whose weights cannot be sharded."""
    if quantization:
        raise UserError(
            f"quantization={quantization} and weights sharded by FSDP or DeepSpeed do not go together. Leave "
            "one of them out: configs/accelerate/ddp.yaml shares the work, with the whole quantised base on each GPU."
        )


def load_sharded_base(
    model: str,
    dtype: str,
    device: torch.device,
    template: TemplateChoice = "auto",
    quantization: Quantization | None = None,
) -> SharedBase:
    """`load_shared_base` on the CPU, then this process's shard of every decoder layer on `device`, the rest whole.

    All processes of torch's process group call this together. `UserError` for what it cannot do.
    """
    check_not_quantized(quantization)
    if _true(_DEEPSPEED):
        raise UserError(
            "the reward stage shards weights by FSDP2, not by DeepSpeed. Start it with "
            "--config_file configs/accelerate/fsdp2.yaml."
        )
    if _true(_OFFLOAD):
        raise UserError(
            "the reward stage keeps its shards on the GPUs. Leave fsdp_offload_params out of the accelerate "
            "configuration, and share the weights among more processes."
        )
    number_format = str(choose_dtype(dtype, device)).removeprefix("torch.")
    with without_fsdp(_LOADED_BY_ONE):
        base = load_shared_base(model, number_format, "cpu", template)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in _layers(base.base):
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    cast(nn.Module, base.base).to(device)
    return base


@contextmanager
def without_fsdp(variable: str = _FSDP) -> Iterator[None]:
    """In here, libraries are not told of the sharding that the launcher asks for, so that they leave it to us."""
    told = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if told is not None:
            os.environ[variable] = told


def _layers(base: Any) -> list[nn.Module]:
    """The decoder layers, by the classes that transformers does not divide further."""
    names = set(base._no_split_modules or ())
    found = [module for module in base.modules() if type(module).__name__ in names]
    inside = {id(child) for module in found for child in module.modules() if child is not module}
    if not (layers := [module for module in found if id(module) not in inside]):
        raise UserError(
            f"the weights of {type(base).__name__} cannot be sharded: transformers does not say what its layers are. "
            "Start the stage with configs/accelerate/ddp.yaml, or choose another model."
        )
    return layers


def _true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"
