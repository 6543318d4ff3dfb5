"""Model folders on disk: where converted models are kept, and whether a folder is whole."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from foundation.errors import UserError


def models_folder() -> Path:
    """Where converted models are kept: `$RLHF_MODELS`, or `models` in the current folder."""
    return Path(os.environ.get("RLHF_MODELS", "models"))


def check_folder(folder: Path) -> None:
    """Refuse a model folder that lacks a file or whose weights were cut short."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a model folder: it has no config.json.")
    weights = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError) as error:
            raise UserError(f"{index} is damaged ({error}). Copy or download the model again.") from error
        weights = [folder / name for name in sorted(named)]
    if not weights:
        raise UserError(f"{folder} has no *.safetensors weights. Copy or download the model again.")
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{file} is cut short or damaged ({error}). Delete {folder} and copy or download the model again."
            ) from error
