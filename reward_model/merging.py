"""A reward model where this project is not: merged into one ordinary model, and as a function.

    merge_reward(Path("reward"), Path("merged"))
    RLOOTrainer(model, reward_funcs="merged", ...)                        # TRL loads the folder itself
    RLOOTrainer(model, reward_funcs=reward_function(Path("reward")), ...)  # the adapter, on a base of its own

A server, quantisation and batching over requests are left to the tools that load such a model.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedTokenizerBase

from backbone.adapters import WEIGHTS
from backbone.loading import load_tokenizer, resolve_model
from backbone.tokens import Renderer
from foundation.errors import UserError
from foundation.files import publish_folder
from reward_model.rewards.reward_function import Reward, Text, messages_of, text_of
from reward_model.scorer import FIGURES, RewardScorer, check_reward_folder
from reward_model.training.train import load_untrained


def reward_function(reward: RewardScorer | Path | str, *, dtype: str = "auto", device: str = "auto") -> Reward:
    """The reward model, or the folder of one, as a function with TRL's `reward_funcs` signature.

    Texts are tokenised as in training, so that the policy may have another tokenizer; completions count as finished.
    """
    scorer = reward if isinstance(reward, RewardScorer) else RewardScorer.load(reward, dtype=dtype, device=device)
    renderer = scorer.base.renderer

    def learned(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        asked = [renderer.prompt_ids(messages_of(prompt)) for prompt in prompts]
        said = [renderer.response_ids(text_of(completion)) for completion in completions]
        return cast("list[float]", scorer.score(asked, said).tolist())

    return learned


def is_reward_folder(folder: Path) -> bool:
    """Whether this is an adapter with a score head, of whatever quality."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            return any(".score." in key for key in weights.keys())  # noqa: SIM118
    except (SafetensorError, OSError):
        return False


def merge_reward(adapter: Path, folder: Path, model: str | None = None) -> None:
    """Write base, adapter and head as one sequence-classification model; `model` stands in for the adapter's base.

    Weights get the base's own number format. In a 16-bit one, scores move a little. The chat template is changed in one
    respect: a conversation ends where its last turn ends, with no line break behind it, because that is where
    scores are read and what TRL hands to a reward model that it loaded from a path.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already. Choose a new folder for the merged model, or remove this one.")
    name = resolve_model(model or check_reward_folder(adapter))
    check_reward_folder(adapter)
    tokenizer = load_tokenizer(name)
    base = load_untrained(name, torch.float32, int(tokenizer.pad_token_id))
    try:
        merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"the reward model in {adapter} does not fit {name}: {reason}. Name its own base with --model."
        ) from error
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    merged.to(AutoConfig.from_pretrained(name).dtype or torch.float32).save_pretrained(partial)
    tokenizer.chat_template = closed_template(tokenizer)
    tokenizer.save_pretrained(partial)
    for file in (FIGURES, "README.md"):
        if (adapter / file).is_file():
            shutil.copyfile(adapter / file, partial / file)
    publish_folder(partial, folder)


def closed_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template, with whatever follows the last end of a turn left out where no answer is asked for."""
    template = cast(str, tokenizer.chat_template).removesuffix("\n")
    end = repr(tokenizer.convert_ids_to_tokens(Renderer.of(tokenizer, 1).eos_ids[0]))
    closed = f"rendered[: rendered.rfind({end})] + {end}"
    return (
        f"{{% set rendered %}}{template}{{% endset %}}"
        f"{{{{ rendered if add_generation_prompt or {end} not in rendered else {closed} }}}}"
    )
