"""PEFT's folder format: reading a saved LoRA adapter, and refusing what could not be computed exactly.

The reference is the base with every adapter off, so an adapter may change nothing but the layers that carry it. One
that also changes biases, whole layers or the base's own weights is refused, and so is one with settings that are not
known here: it would be computed as something else.
"""

import contextlib
import dataclasses
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from backbone.loading.base_identity import BASE_SHA256, check_base, recorded, weights_sha256
from backbone.loading.saved_weights import WEIGHTS, is_head
from foundation.errors import UserError

CONFIG = "adapter_config.json"
HEADS = ("score", "classifier")  # PEFT names both for every sequence classifier; the score head is read apart

# Settings that say where the adapter is from, how it was initialised or trained, or that PEFT's layers follow exactly.
_UNDERSTOOD = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "runtime_config", "r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern"),
    *("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out", "target_modules", "exclude_modules"),
    *("target_parameters", "layers_to_transform", "layers_pattern", "modules_to_save", "init_lora_weights"),
    *("eva_config", "loftq_config", "megatron_core", "qalora_group_size"),
}
_LARGEST = sys.float_info.max
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")  # the others leave changed base weights behind
_MERGE_IT = "Merge it into its base with PEFT and name the merged model as the base, or train it again without that."


def read_adapter(folder: Path) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """The configuration and the weights of a LoRA folder that can be computed exactly; `UserError` for any other."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} is not an adapter folder: it needs {CONFIG} and {WEIGHTS}.")
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        with warnings.catch_warnings(action="ignore"):  # about settings, all of which are looked at below
            config = LoraConfig.from_pretrained(str(folder))
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"the adapter in {folder} cannot be read ({error}). It is damaged, or no LoRA.") from error
    if type(config) is not LoraConfig:
        raise UserError(f"the adapter in {folder} is a {type(config).__name__}; only LoRA adapters are supported.")
    if problem := _beyond_lora(config, settings):
        raise UserError(f"the adapter in {folder} is more than a LoRA: {problem}. {_MERGE_IT}")
    _check_numbers(folder, config, weights)
    config.modules_to_save = None
    config.init_lora_weights, config.eva_config = True, None  # the folder's weights replace any start
    config.inference_mode = False
    return config, weights


def put_weights(
    model: PeftModel, name: str, weights: dict[str, torch.Tensor], folder: Path, base: str, made_for: str | None
) -> None:
    """Give the adapter `name` on `model` the weights read from `folder`: `UserError` unless they fit exactly.

    `base` is what messages call the model, `made_for` the one that the folder names.
    """
    config = model.peft_config[name]
    lora, rest = _split(weights)
    with warnings.catch_warnings(action="ignore"):
        # Names as of another transformers version become today's, as PeftModel.from_pretrained does.
        with contextlib.suppress(ValueError, KeyError, RuntimeError):  # what stays as it was is refused below
            lora = convert_peft_adapter_state_dict_for_transformers(model, config, lora, name)
        # Left to itself, PEFT asks the hub whether the vocabulary was changed.
        own = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    heads = {key: own.pop(key) for key in list(own) if is_head(key)}  # read apart
    wrong = [key for key in own if key not in lora or lora[key].shape != own[key].shape]
    extra = [key for key in lora if key not in own]
    if wrong or extra:
        raise UserError(
            f"the adapter in {folder} does not fit {base}: {len(wrong)} of its weights are missing or of another size "
            f'and {len(extra)} are unknown, for instance "{(wrong + extra)[0]}". It was made for '
            f"{made_for or 'another base model'}; name that base, or another adapter."
        )
    if changed := next(_changed(model, rest), None):
        raise UserError(
            f'the adapter in {folder} carries weights of its base that are not those of {base}: "{changed}" (a larger '
            f"vocabulary, or whole layers that were trained). {_MERGE_IT}"
        )
    set_peft_model_state_dict(model, lora | heads, adapter_name=name)


def write_weights(folder: Path, weights: dict[str, torch.Tensor], quantization: str | None, base: str) -> None:
    """Write the weights in fp32; the file's metadata say what `base` they were trained on, and how it was quantised."""
    metadata = {"format": "pt", "quantization": quantization, BASE_SHA256: weights_sha256(base)}
    whole = {name: weight.detach().float().contiguous().cpu() for name, weight in weights.items()}
    made = save(whole, metadata={key: value for key, value in metadata.items() if value})
    (folder / WEIGHTS).write_bytes(_in_order(made))


def _in_order(file: bytes) -> bytes:
    """The safetensors file with its metadata sorted: the library writes them in any order, and the hash differs."""
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    return len(text).to_bytes(8, "little") + text + file[8 + size :]


def other_base(folder: Path, made_for: str | None, base: str, quantization: str | None) -> Iterator[str]:
    """What to say if the adapter in `folder` was trained on another base than this, or on one quantised otherwise.

    Raises `UserError` if the base was changed since training.
    """
    if difference := check_base(folder, made_for, base):
        yield difference
    trained_on = recorded(folder).get("quantization")
    if trained_on and trained_on != quantization:
        yield (
            f"The adapter in {folder} was trained on a base with quantization={trained_on}; it is used on one with "
            f"quantization={quantization or 'null'}."
        )


def take_head(weights: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """Take the score head (1, hidden) of a reward model out of the weights read, if there is one."""
    return next((weights.pop(key) for key in list(weights) if is_head(key)), None)


def _beyond_lora(config: LoraConfig, settings: dict[str, object]) -> str | None:
    """What these settings do besides LoRA on some layers, or None."""
    known = {field.name: field for field in dataclasses.fields(LoraConfig)}
    unknown = sorted(key for key, value in settings.items() if key not in known and value)
    if unknown:
        return f'"{unknown[0]}" is set, which PEFT learned to do after the version installed here'
    default = LoraConfig()
    for name in known:
        value = getattr(config, name)
        if name not in _UNDERSTOOD and value and value != getattr(default, name):
            return f'"{name}" is set to {value!r}'
    if extra := sorted(set(config.modules_to_save or ()) - set(HEADS)):
        return f"it replaces whole layers ({', '.join(extra)})"
    if config.init_lora_weights not in _PLAIN_STARTS:
        return f'with "init_lora_weights" {config.init_lora_weights!r} it needs changed base weights'
    return None


def _check_numbers(folder: Path, config: LoraConfig, weights: dict[str, torch.Tensor]) -> None:
    for name in ("rank_pattern", "alpha_pattern"):
        if not isinstance(getattr(config, name) or {}, dict):
            raise UserError(f'the adapter in {folder} has a "{name}" that is no mapping of layers to numbers.')
    ranks = [config.r, *(config.rank_pattern or {}).values()]
    if bad := [rank for rank in ranks if type(rank) is not int or rank < 1]:
        raise UserError(f"the adapter in {folder} has rank {bad[0]}; a LoRA needs a rank of 1 or more.")
    largest = max((size for value in weights.values() for size in value.shape), default=0)
    if max(ranks) > largest:  # before memory is taken for it
        raise UserError(f"the adapter in {folder} says rank {max(ranks)}, and none of its weights is as large as that.")
    scales = [config.lora_alpha, *(config.alpha_pattern or {}).values()]
    if wrong := [scale for scale in scales if not isinstance(scale, int | float) or not abs(scale) <= _LARGEST]:
        raise UserError(f'the adapter in {folder} has "lora_alpha" {wrong[0]}, which is no finite number.')
    if other := [key for key, value in weights.items() if not value.is_floating_point()]:
        raise UserError(f'the adapter in {folder} is damaged: its weight "{other[0]}" is no floating-point number.')
    broken = [key for key, value in weights.items() if not torch.isfinite(value.float()).all()]
    if broken:
        raise UserError(
            f"{len(broken)} of the adapter's weights in {folder} are not finite numbers, for instance "
            f'"{broken[0]}": its training went wrong. Name another adapter, or an earlier checkpoint of it.'
        )


def _split(weights: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """LoRA's own weights, and those of the base that PEFT saves along with an adapter on embeddings."""
    lora = {key: value for key, value in weights.items() if ".lora_" in key}
    return lora, {key: value for key, value in weights.items() if key not in lora}


def _changed(model: PeftModel, weights: dict[str, torch.Tensor]) -> Iterator[str]:
    """Those of these weights that are not the base's own."""
    own = model.state_dict()
    for key, value in weights.items():
        there = own.get(key, own.get(key.removesuffix("weight") + "base_layer.weight"))
        if there is None or there.shape != value.shape or not torch.equal(there, value.to(there)):
            yield key
