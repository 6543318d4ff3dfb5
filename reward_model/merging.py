"""A reward model merged into its base: one ordinary model, which TRL loads from its folder.

    merge_reward(Path("reward"), Path("merged"))
    RLOOTrainer(model, reward_funcs="merged", ...)

A server, quantisation and batching over requests are left to the tools that load such a model.
"""

import logging
from pathlib import Path

from safetensors.torch import save_file

from backbone.adapter_folder import read_adapter, take_head
from backbone.exactness import load_shared_base
from backbone.loading.base_identity import published_name
from backbone.merging import check_new, saved_dtype, write_merged
from backbone.publishing.cards import write_merged_card
from backbone.templates.plain_text import saved_choice
from reward_model.chat_template import closed
from reward_model.model_card import merged_snippet
from reward_model.reward_folder import FIGURES, check_reward_folder, is_probe
from reward_model.sequence_classification import as_classifier, decoder_path

HEAD = "score.safetensors"
_log = logging.getLogger(__name__)


def merge_reward(adapter: Path, folder: Path, model: str | None = None, dtype: str | None = None) -> None:
    """Write base, adapter and head as one sequence-classification model; `model` stands in for the adapter's base.

    Weights get `dtype`, or the base's own. In a 16-bit one, scores move a little (docs/commands.md). Where transformers
    has no sequence classification that gives the scores, the causal model is written, and the head in a file beside it.
    """
    check_new(folder)
    name = check_reward_folder(adapter)
    if is_probe(adapter):
        _log.warning("The reward is a probe of the base; what is merged is the adapter beside it.")
    base = load_shared_base(model or name, "float32", "cpu", saved_choice(adapter))
    tokenizer = closed(base.tokenizer)
    classifier = as_classifier(base, base.base.config)
    if classifier is not None:
        classifier.config.problem_type = "regression"  # a pipeline then gives the score itself, not its sigmoid

    def add_head_and_card(merged: Path) -> None:
        head = take_head(read_adapter(adapter)[1])
        if classifier is None and head is not None:
            save_file({"score": head.float()}, merged / HEAD)
        snippet = merged_snippet("path/to/this/folder", decoder_path(base) if classifier is None else None)
        task = "text-generation" if classifier is None else "text-classification"
        name = published_name(base.name)
        write_merged_card(merged, adapter, name, snippet, dtype or saved_dtype(base.name), task)

    write_merged(
        classifier or base.base, base.name, adapter, folder, tokenizer,
        what="reward model", dtype=dtype, beside=(FIGURES,), finish=add_head_and_card,
    )  # fmt: skip
