"""A reward model merged into its base: one ordinary model, which TRL loads from its folder.

    merge_reward(Path("reward"), Path("merged"))
    RLOOTrainer(model, reward_funcs="merged", ...)

A server, quantisation and batching over requests are left to the tools that load such a model.
"""

from pathlib import Path

import torch

from backbone.loading.models import load_tokenizer, resolve_model
from backbone.merging import check_new, write_merged
from reward_model.chat_template import closed_template
from reward_model.model_card import CARD
from reward_model.reward_folder import FIGURES, check_reward_folder
from reward_model.score_head import load_with_new_head


def merge_reward(adapter: Path, folder: Path, model: str | None = None) -> None:
    """Write base, adapter and head as one sequence-classification model; `model` stands in for the adapter's base.

    Weights get the base's own dtype. In a 16-bit one, scores move a little. The chat template is changed in one
    respect: a conversation ends where its last turn ends, with no line break behind it, because that is where
    scores are read and what TRL hands to a reward model that it loaded from a path.
    """
    check_new(folder)
    name = resolve_model(model or check_reward_folder(adapter))
    check_reward_folder(adapter)
    tokenizer = load_tokenizer(name)
    base = load_with_new_head(name, torch.float32, int(tokenizer.pad_token_id))
    tokenizer.chat_template = closed_template(tokenizer)
    write_merged(base, name, adapter, folder, tokenizer, what="reward model", beside=(FIGURES, CARD))
