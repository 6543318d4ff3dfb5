"""A reward model to measure another one by: of this project, or a published one with base and tokenizer of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jinja2 import TemplateError

from backbone.loading.settings import Quantization
from foundation.errors import UserError
from reward_model.ensemble import Ensemble
from reward_model.evaluation.older_model import older_scorer
from reward_model.evaluation.score_differences import score_differences
from reward_model.evaluation.test_set import Score
from reward_model.labels.records import Pair
from reward_model.rewards.language_models.classifier import classifier
from reward_model.rewards.texts import Text, messages_of
from reward_model.scorer import RewardScorer


@dataclass(frozen=True)
class Yardstick:
    """What a reward model says: of pairs, score of chosen less score of rejected (pairs,), and of single texts."""

    differences: Callable[[Sequence[Pair]], np.ndarray]
    score: Score


def yardstick(scorer: RewardScorer, name: str, quantization: Quantization | None = None) -> Yardstick:
    """The reward model `name` beside `scorer`: a reward folder, or a sequence-classification model (folder or hub id).

    `UserError` if it cannot be loaded, has several logits, or its tokenizer refuses a conversation.
    """
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        older = older_scorer(scorer, folder, quantization)
        return Yardstick(partial(score_differences, older), score_texts(older))
    dtype = str(scorer.base.base.dtype).removeprefix("torch.")
    whole = classifier(name, output=None, max_length=None, batch=8, dtype=dtype, device=str(scorer.base.device))

    def score(prompts: Sequence[Text], responses: Sequence[str]) -> np.ndarray:
        try:
            found = np.array(whole(list(prompts), list(responses)), dtype=np.float64)
        except (ValueError, TypeError, TemplateError) as error:
            raise UserError(f"the tokenizer of {name} cannot render a conversation of this file: {error}") from error
        if wrong := int((~np.isfinite(found)).sum()):
            raise UserError(
                f"{name} gave no finite score for {wrong} of {len(found)} responses: its weights are damaged, or "
                f"{dtype} overflows. Try --set dtype=float32, or compare with another model."
            )
        return found

    def differences(pairs: Sequence[Pair]) -> np.ndarray:
        prompts = [pair.prompt for pair in pairs]
        chosen = score(prompts, [pair.chosen for pair in pairs])
        return np.asarray(chosen - score(prompts, [pair.rejected for pair in pairs]))

    return Yardstick(differences, score)


def score_texts(scorer: RewardScorer | Ensemble) -> Score:
    """The reward model's scores of responses to conversations, rendered as in training."""

    def score(prompts: Sequence[Text], responses: Sequence[str]) -> np.ndarray:
        render = scorer.base.renderer.unbounded  # the scorer cuts
        ids = [render.prompt_ids(messages_of(prompt)) for prompt in prompts]
        scores: np.ndarray = scorer.score(ids, [render.response_ids(text) for text in responses]).double().numpy()
        return scores

    return score
