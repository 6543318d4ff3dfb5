"""Which layers of a model carry an adapter if it is said to be on `all-linear` ones.

All linear layers of the language model, but neither its head, nor the routers of a mixture of experts, nor what is
beside the language model (vision and audio towers, projectors), which servers such as vLLM adapt by no LoRA. Experts
whose weights lie stacked in one tensor are no linear layers. Anything else is had by naming the layers.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.transformers_weight_conversion import (
    convert_peft_adapter_state_dict_for_transformers,
    convert_peft_config_for_transformers,
)
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from foundation.errors import UserError

ALL_LINEAR = "all-linear"

# A router by the class that it is (part of), or by its name; rarely is it an ordinary linear layer.
_ROUTER_CLASS = re.compile(r"Router|TopKGating|MoE\w*Gate$")
_ROUTER_NAME = re.compile(r"(^|\.)(gate|\w*router\w*|\w*expert_gate)$")


_BLOCK = re.compile(r"(?:.*?\.)?(?P<stack>[^.]+)\.(?P<number>\d+)\.")  # the outermost: experts are numbered as well


def resolve_targets(model: PreTrainedModel, config: LoraConfig, share: float = 1.0) -> None:
    """Put the names of the layers in place of `all-linear`; `UserError` for names that the model has no layer of.

    Only this share of the model's blocks, the last ones, carries the adapter, unless the targets are a pattern.
    """
    if config.target_modules == ALL_LINEAR:
        linear = linear_layers(model)
        found = set(linear) - renamed_by_peft(model, linear)
        config.target_modules = list(_shortest(_not_experts(model, found), model))
    elif config.target_modules and not isinstance(config.target_modules, str):
        paths = tuple(f".{path}" for path, _ in _layers(model))
        names = _not_experts(model, config.target_modules)
        if unknown := sorted(name for name in names if not any(path.endswith(f".{name}") for path in paths)):
            have = sorted(_shortest(set(linear_layers(model)), model))[:12]
            raise UserError(
                f'lora_targets: this model has no layer named "{unknown[0]}". Name some of {", ".join(have)}, or '
                f'"{ALL_LINEAR}".'
            )
        named = [path for path, _ in _layers(model) if any(f".{path}".endswith(f".{name}") for name in names)]
        if lost := sorted(renamed_by_peft(model, named)):
            raise UserError(
                f'lora_targets: PEFT would not find the adapter of "{lost[0]}" again when it loads it, for it takes '
                f'the name for that of an older checkpoint. Leave it out, or use "{ALL_LINEAR}".'
            )
    if share < 1 and not isinstance(config.target_modules, str):
        _only_last_blocks(model, config, share)


def _only_last_blocks(model: PreTrainedModel, config: LoraConfig, share: float) -> None:
    names = tuple(config.target_modules or ())
    stacks: dict[str, Counter[int]] = {}
    for path in linear_layers(model):
        if (found := _BLOCK.match(path)) and path.endswith(names):
            stacks.setdefault(found["stack"], Counter())[int(found["number"])] += 1
    if len(stacks) == 1:  # of a model with other stacks, nothing is left out
        ((stack, numbers),) = stacks.items()
        last = sorted(numbers)[-math.ceil(share * len(numbers)) :]
        config.layers_to_transform, config.layers_pattern = last, stack


def blocks(model: PreTrainedModel) -> list[nn.Module]:
    """The blocks of the language model, the first one first; none if they do not lie in one stack."""
    found = {match[0].rstrip(".") for path in linear_layers(model) if (match := _BLOCK.match(path))}
    stacks = {path.rpartition(".")[0] for path in found}
    ordered = sorted(found, key=lambda path: int(path.rpartition(".")[2]))
    return [model.get_submodule(path) for path in ordered] if len(stacks) == 1 else []


def renamed_by_peft(model: PreTrainedModel, paths: Iterable[str]) -> set[str]:
    """Those of these layers under another name than which PEFT would look for their adapter when it loads one.

    PEFT renames saved weights as transformers does those of older checkpoints, and some of its patterns match names
    that are new already: what they are renamed to is not there, and such an adapter would be random after loading.
    """
    saved = {f"base_model.model.{path}.lora_A.weight": path for path in paths}
    weights = {name: torch.zeros(1, 1) for name in saved}
    with warnings.catch_warnings(action="ignore"):
        found = convert_peft_adapter_state_dict_for_transformers(model, LoraConfig(), weights)
    return {path for name, path in saved.items() if name not in found}


def linear_layers(model: PreTrainedModel) -> list[str]:
    """The paths in `model`, with or without adapters, of the linear layers of its language model."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    inside = {id(module) for module in (model.base_model if decoder is head else decoder).modules()}
    routers: tuple[str, ...] = ()
    found = []
    for path, module in _layers(model):
        layer = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        if _ROUTER_CLASS.search(type(layer).__name__) or _ROUTER_NAME.search(path):
            routers += (f"{path}.",)
        linear = isinstance(layer, nn.Linear | Conv1D) and id(module) in inside and module is not head
        if linear and not f"{path}.".startswith(routers) and not _read_by_a_kernel(model, path):
            found.append(path)
    return found


def _not_experts(model: PreTrainedModel, names: Iterable[str]) -> set[str]:
    """Those of these names that PEFT does not read as stacked experts, as it does a shared expert's `gate_proj`."""
    plain = LoraConfig(target_modules=list(names))
    try:
        with warnings.catch_warnings(action="ignore"):
            convert_peft_config_for_transformers(plain, model, None)
    except ValueError as error:
        raise UserError(f"lora_targets: {error}") from error
    return set(plain.target_modules or ())


def _layers(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """All modules but those within an adapter's layer."""
    within: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if path.startswith(within):
            continue
        if isinstance(module, BaseTunerLayer):
            within += (f"{path}.",)
        yield path, module


def _read_by_a_kernel(model: nn.Module, path: str) -> bool:
    """Whether this is the last layer of a Mamba mixer: its kernel takes the weights and leaves the adapter out."""
    parent, _, name = path.rpartition(".")
    return name == "out_proj" and type(model.get_submodule(parent)).__name__.endswith("Mixer")


def _shortest(paths: set[str], model: nn.Module) -> set[str]:
    """The last parts of these paths, if they name the same modules."""
    names = {path.rpartition(".")[2] for path in paths}
    named = {path for path, _ in _layers(model) if path.rpartition(".")[2] in names}
    return names if named == paths else paths


def take_off(model: nn.Module, name: str) -> None:
    """Undo what PEFT has done of putting an adapter on before it failed; layers without any are the model's own."""
    for path, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.delete_adapter(name)
            if not (layer.lora_A or layer.lora_embedding_A):
                parent, _, child = path.rpartition(".")
                setattr(model.get_submodule(parent), child, layer.get_base_layer())
