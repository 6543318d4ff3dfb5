"""The tuned adapter as an ordinary PEFT folder with its model card (`model_card.py`), and merged into its base."""

import shutil
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from backbone.adapter_folder import CONFIG, WEIGHTS, read_adapter
from backbone.loading.model_name import resolve_model
from backbone.loading.models import load_base, load_tokenizer
from backbone.merging import check_new, write_merged
from backbone.templates.plain_text import saved_choice

CARD = "README.md"


def export_adapter(adapter: Path, tokenizer: PreTrainedTokenizerBase, folder: Path, card: str) -> None:
    """Write weights, configuration, tokenizer, chat template and model card to `folder`."""
    read_adapter(adapter)
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(adapter / name, folder / name)
    tokenizer.save_pretrained(folder)
    (folder / CARD).write_text(card, encoding="utf-8")


def merge(adapter: Path, folder: Path, model: str | None = None) -> None:
    """Write base and adapter as one model, in the base's dtype; `model` stands in for the adapter's base."""
    check_new(folder)
    config, _ = read_adapter(adapter)
    name = resolve_model(model or str(config.base_model_name_or_path))
    base = load_base(name, dtype="float32", device="cpu")
    write_merged(base, name, adapter, folder, load_tokenizer(name, saved_choice(adapter)))
