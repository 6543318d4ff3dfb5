"""PEFT's folder format: the files of a saved LoRA adapter, and reading them with clear errors."""

from pathlib import Path

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file

from foundation.errors import UserError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def read_adapter(folder: Path) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """The configuration and the weights of a LoRA folder, checked to be one."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} is not an adapter folder: it needs {CONFIG} and {WEIGHTS}.")
    try:
        config = LoraConfig.from_pretrained(str(folder))
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"the adapter in {folder} cannot be read ({error}). It is damaged, or no LoRA.") from error
    if not isinstance(config, LoraConfig):
        raise UserError(f"the adapter in {folder} is a {type(config).__name__}; only LoRA adapters are supported.")
    config.modules_to_save = None
    config.inference_mode = False
    return config, weights
