"""The tuned adapter as an ordinary PEFT folder with its model card (`model_card.py`), and merged into its base."""

import shutil
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from backbone.adapter_folder import CONFIG, read_adapter
from backbone.loading.base_identity import base_beside, published_name
from backbone.loading.model_name import resolve_model
from backbone.loading.models import load_base, load_tokenizer
from backbone.loading.saved_weights import WEIGHTS
from backbone.merging import check_new, saved_dtype, write_merged
from backbone.publishing.cards import CARD, write_merged_card
from backbone.templates.answers import Answers
from backbone.templates.plain_text import is_plain, saved_choice
from foundation.files import read_json, write_json
from policy.model_card import merged_snippet

LINEAGE = "lineage.json"


def export_adapter(
    adapter: Path, tokenizer: PreTrainedTokenizerBase, folder: Path, card: str, base: str | None = None
) -> None:
    """Write weights, configuration, tokenizer, chat template and model card to `folder`.

    The configuration names `base` where it is given, else the base that `adapter` names.
    """
    read_adapter(adapter)
    shutil.copyfile(adapter / WEIGHTS, folder / WEIGHTS)
    settings = read_json(adapter / CONFIG)
    if base and base != settings["base_model_name_or_path"]:  # which has no commit of the other's
        settings |= {"base_model_name_or_path": base, "revision": None}
    write_json(folder / CONFIG, settings)
    tokenizer.save_pretrained(folder)
    (folder / CARD).write_text(card, encoding="utf-8")


def merge(
    adapter: Path, folder: Path, model: str | None = None, dtype: str | None = None, base: str | None = None
) -> None:
    """Write base and adapter as one model with a card of its own.

    `model` stands in for the adapter's base, `dtype` for that of the base; the card calls it `base`, or by its name.
    """
    check_new(folder)
    config, _ = read_adapter(adapter)
    name = resolve_model(model or base_beside(adapter, str(config.base_model_name_or_path)))
    whole = load_base(name, dtype="float32", device="cpu")
    tokenizer = load_tokenizer(name, saved_choice(adapter))

    def finish(merged: Path) -> None:
        _stop_at(merged / "generation_config.json", Answers.of(tokenizer).end)
        snippet = merged_snippet("path/to/this/folder", plain=is_plain(tokenizer))
        write_merged_card(
            merged, adapter, base or published_name(name), snippet, dtype or saved_dtype(name), "text-generation"
        )

    write_merged(whole, name, adapter, folder, tokenizer, dtype=dtype, beside=(LINEAGE,), finish=finish)


def _stop_at(file: Path, end: int) -> None:
    """Have the model's own settings name the token that ends an answer: those of many base models do not."""
    settings = read_json(file)
    named = settings.get("eos_token_id")
    ends = named if isinstance(named, list) else [] if named is None else [named]
    if end not in ends:
        write_json(file, settings | {"eos_token_id": [*ends, end]})
