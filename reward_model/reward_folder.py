"""A reward folder: an ordinary PEFT folder with a score head, and the names of files that lie beside it.

The score head is written in `score_head.py`, the posterior in `uncertainty.py`.
"""

import json
from pathlib import Path

from peft import PeftConfig
from safetensors import SafetensorError, safe_open

from backbone.adapter_folder import CONFIG
from backbone.loading.base_identity import base_beside
from backbone.loading.saved_weights import WEIGHTS
from foundation.errors import UserError
from foundation.files import read_json

FIGURES = "reward.json"

WORDS = "bag_of_words.json"


def check_reward_folder(folder: Path) -> str:
    """Refuse what is not a trained reward model; returns what to load for the base that it was made for."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{folder} holds no reward model: it needs {CONFIG} and {WEIGHTS}. "
            "Train one with `rlhf reward`, or name its folder."
        )
    try:
        config = PeftConfig.from_pretrained(str(folder))
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            heads = [weights.get_tensor(key) for key in weights.keys() if ".score." in key]  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"the reward model in {folder} is damaged ({error}). Train it again.") from error
    if not heads:
        raise UserError(
            f"the adapter in {folder} has no score head, so it is not a reward model (a policy, perhaps; its task is "
            f"{config.task_type}). Train one with `rlhf reward`, "
            'or save the head with modules_to_save=["score"].'
        )
    wrong = next((head for head in heads if head.ndim != 2 or len(head) != 1), None)
    if wrong is not None:
        raise UserError(f"the score head in {folder} gives {len(wrong)} scores, not one: train it with num_labels=1.")
    if not any(bool(head.any()) for head in heads):
        raise UserError(f"the score head in {folder} is newly initialised, not trained: every score would be zero.")
    if not config.base_model_name_or_path:
        raise UserError(f'{folder / CONFIG} does not name the model it was made for: add "base_model_name_or_path".')
    return base_beside(folder, str(config.base_model_name_or_path))


def is_probe(folder: Path) -> bool:
    """Whether the reward is a probe of the base, and not the adapter that lies beside it."""
    return (folder / FIGURES).is_file() and read_json(folder / FIGURES).get("reward_model") == "probe"


def is_reward_folder(folder: Path) -> bool:
    """Whether this is an adapter with a score head, of whatever quality."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            return any(".score." in key for key in weights.keys())  # noqa: SIM118
    except (SafetensorError, OSError):
        return False
