"""A base with an adapter added to its weights, written as one ordinary model that needs no PEFT."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from foundation.errors import UserError
from foundation.files import publish_folder


def check_new(folder: Path) -> None:
    """Refuse a folder that exists."""
    if folder.exists():
        raise UserError(f"{folder} exists already. Choose a new folder for the merged model, or remove this one.")


def write_merged(
    base: PreTrainedModel,
    name: str,
    adapter: Path,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    what: str = "adapter",
    beside: Sequence[str] = (),
) -> None:
    """Merge the adapter into `base`, a float32 copy of the model `name`, and write the sum to `folder`.

    It is written in the dtype in which `name` is saved. `what` is what messages call the adapter; its files that are
    named in `beside` are copied.
    """
    try:
        merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"the {what} in {adapter} does not fit {name}: {reason}. Name its own base with --model."
        ) from error
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    merged.to(AutoConfig.from_pretrained(name).dtype or torch.float32).save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    for file in beside:
        if (adapter / file).is_file():
            shutil.copyfile(adapter / file, partial / file)
    publish_folder(partial, folder)
