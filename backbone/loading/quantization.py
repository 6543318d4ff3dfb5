"""A frozen base in 8 or 4 bits, by bitsandbytes: what it needs, how it is set up, and how much memory it takes.

Linear layers are quantised as they are loaded. Embeddings, the LM head, norms and everything trained keep the base's
dtype, and so do experts whose weights lie stacked in one tensor.
"""

from typing import Any, cast

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module
from transformers.utils.import_utils import is_bitsandbytes_available

from backbone.loading.settings import Quantization
from foundation.errors import UserError

_BLOCK, _OUTER_BLOCK = 64, 256  # nf4: weights that share a scale, and scales that share one


def check_quantization(quantization: Quantization | None, device: torch.device) -> None:
    """Refuse, before anything is loaded, what bitsandbytes is missing for or cannot compute on."""
    if quantization is None:
        return
    if not is_bitsandbytes_available():
        raise UserError(
            f"quantization={quantization} needs bitsandbytes, which is not installed: "
            "pip install 'bitsandbytes>=0.50.2,<0.51'."
        )
    import bitsandbytes

    if device.type not in bitsandbytes.supported_torch_devices:
        raise UserError(
            f"quantization={quantization} needs bitsandbytes, which does not compute on {device}. Use another device, "
            "or leave quantization out."
        )


def loading_arguments(
    quantization: Quantization | None, config: PreTrainedConfig, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """What `from_pretrained` is told of a quantised base; nothing for others. `UserError` if it would be one twice."""
    saved = _saved_settings(config)
    if not quantization and not saved:
        return {}
    if quantization and saved:
        raise UserError(
            f"quantization={quantization}, but the model is saved in quantised form already ({saved['quant_method']}). "
            "Leave quantization out, or name the model that it was made from."
        )
    index = device.index if device.index is not None or device.type == "cpu" else torch.cuda.current_device()
    placed: dict[str, Any] = {"device_map": {"": device if index is None else index}}
    return placed | ({"quantization_config": bitsandbytes_config(quantization, dtype)} if quantization else {})


def bitsandbytes_config(quantization: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    """QLoRA's nf4 with quantised scales (Dettmers et al. 2023), or int8 by rows and tokens (LLM.int8(), 2022).

    int8 keeps no outliers apart: which columns these are would depend on the other rows of a batch, and on later
    tokens.
    """
    settings: dict[str, Any] = {
        "int8": {"load_in_8bit": True, "llm_int8_threshold": 0.0},
        "nf4": {
            "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": dtype,
        },
    }  # fmt: skip
    return BitsAndBytesConfig(**settings[quantization])  # type: ignore[no-untyped-call]


def settle(model: PreTrainedModel) -> None:
    """Let a quantised model compute the same, with gradients and without.

    On CPUs with bf16 units, bitsandbytes would repack the 4-bit weights at the first pass without gradients. The
    repacked ones have no gradient, rounded scales, and need sizes that are multiples of 32 and 64.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def quantization_of(model: nn.Module) -> str | None:
    """`int8`, `nf4`, another method's name if the model was saved quantised, or None."""
    if getattr(model, "is_loaded_in_8bit", False):
        return "int8"
    settings = _saved_settings(getattr(model, "config", None))
    if getattr(model, "is_loaded_in_4bit", False):
        return str(settings["bnb_4bit_quant_type"])
    return settings.get("quant_method")


def base_bytes(model: PreTrainedModel, quantization: Quantization | None = None) -> int:
    """Bytes that the weights of `model`, an outline (`outline.py`), take when it is loaded so, scales included."""
    saved = _saved_settings(model.config)
    if saved.get("load_in_8bit") or saved.get("load_in_4bit"):
        quantization = "int8" if saved.get("load_in_8bit") else "nf4"
    kept = HfQuantizer.get_modules_to_not_convert(model, None, list(model._keep_in_fp32_modules or ()))
    total = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    for name, module in model.named_modules():
        linear = type(module) is nn.Linear or isinstance(module, Conv1D)
        if quantization and linear and should_convert_module(name, kept):
            weight = cast(torch.Tensor, module.weight)
            rows = weight.shape[0 if isinstance(module, nn.Linear) else 1]
            total += _quantised_bytes(weight.numel(), rows, quantization) - weight.numel() * weight.element_size()
    return total


def _saved_settings(config: object) -> dict[str, Any]:
    """How the model of this configuration is quantised; empty if it is not."""
    settings = getattr(config, "quantization_config", None) or {}
    return settings if isinstance(settings, dict) else cast("dict[str, Any]", settings.to_dict())


def _quantised_bytes(count: int, rows: int, quantization: Quantization) -> int:
    """Of one layer: int8 has an fp32 scale per row; nf4 one byte per block, and an fp32 scale per block of these."""
    if quantization == "int8":
        return count + 4 * rows
    blocks = -(-count // _BLOCK)
    return -(-count // 2) + blocks + 4 * -(-blocks // _OUTER_BLOCK)
