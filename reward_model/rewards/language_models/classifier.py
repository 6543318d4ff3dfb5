"""A sequence-classification model of transformers, and the logit that it gives a prompt with its response.

It has a base and a tokenizer of its own, so texts travel and are tokenised anew: by its chat template if it has one,
else as a pair of texts, prompt and response. Code that comes with a model is never run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from backbone.batching import by_length
from backbone.loading.devices import choose_device, choose_dtype
from backbone.loading.model_folder import is_hub_id
from backbone.training.quiet_libraries import quiet
from foundation.errors import UserError
from reward_model.rewards.interface import Reward
from reward_model.rewards.texts import Text, messages_of, text_of

_UNKNOWN_LENGTH = 1 << 20  # tokenizers that know no longest text say a number like 10^30


def classifier(
    name: str, *, output: int | str | None, max_length: int | None, batch: int, dtype: str, device: str
) -> Reward:
    """The reward that is one logit of the model `name`; the parameters are those of `kinds/classifier.py`."""
    target = choose_device(device)
    model, tokenizer = _load(name, choose_dtype(dtype, target), target)
    logit = _logit_number(model, output, name)
    longest = min(max_length or _UNKNOWN_LENGTH, _longest(model, tokenizer))

    @torch.no_grad()
    def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        encoded = [
            _encode(tokenizer, prompt, completion, longest)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        found = torch.zeros(len(encoded))
        for rows in by_length([len(each["input_ids"]) for each in encoded], most_rows=batch):
            padded = tokenizer.pad([encoded[row] for row in rows], return_tensors="pt").to(target)
            found[rows] = model(**padded).logits[:, logit].float().cpu()
        return cast("list[float]", found.tolist())

    return reward


def _load(name: str, dtype: torch.dtype, device: torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer; `UserError` if they cannot be loaded or the head is not among the weights."""
    if not Path(name).is_dir() and not is_hub_id(name, with_owner=False):
        raise UserError(
            f'the reward "model" cannot load {name}: it is neither a folder nor a hub id. Give one of them, of a model '
            "for sequence classification."
        )
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(name)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                name, dtype=dtype, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f'the reward "model" cannot load {name}: {str(error).strip().splitlines()[0]} Give a folder, or a hub id '
            "that this machine can reach, of a model for sequence classification."
        ) from error
    if info["missing_keys"]:
        raise UserError(
            f"{name} is no reward model: {', '.join(sorted(info['missing_keys'])[:3])} is not among its weights and "
            "would be random. Give a model that was trained for sequence classification."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    # A decoder reads its score off the last token that is no padding, and must know which that is.
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    tokenizer.truncation_side, tokenizer.padding_side = "left", "right"
    return cast(PreTrainedModel, model.to(device).eval()), tokenizer


def _logit_number(model: PreTrainedModel, output: int | str | None, name: str) -> int:
    """Which logit is meant."""
    labels: dict[int, str] = {int(key): value for key, value in (model.config.id2label or {0: "LABEL_0"}).items()}
    if output is None and len(labels) == 1:
        return 0
    found = [key for key, label in labels.items() if output in (key, label)]
    if not found:
        known = ", ".join(f"{key} ({label})" for key, label in labels.items())
        what = "says not which logit of it counts" if output is None else f"asks for its logit {output!r}"
        raise UserError(
            f'the reward "model" {what}: {name} has {known}. Set `output` to one of them, or name a model with one '
            "logit."
        )
    return found[0]


def _longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    positions = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or _UNKNOWN_LENGTH)
    return min(positions, int(tokenizer.model_max_length))


def _encode(tokenizer: PreTrainedTokenizerBase, prompt: Text, completion: Text, longest: int) -> dict[str, list[int]]:
    """Token ids of prompt and response, as the model's own tokenizer writes them."""
    if tokenizer.chat_template:
        messages = [*messages_of(prompt), {"role": "assistant", "content": text_of(completion)}]
        text = cast(str, tokenizer.apply_chat_template(messages, tokenize=False))
        return dict(tokenizer(text, truncation=True, max_length=longest, add_special_tokens=False))
    return dict(tokenizer(text_of(prompt), text_of(completion), truncation="longest_first", max_length=longest))
