"""A reward model as a function for TRL's `reward_funcs`, with the adapter on a base of its own.

RLOOTrainer(model, reward_funcs=reward_function(Path("reward")), ...)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from backbone.loading.settings import Quantization
from reward_model.rewards.interface import Reward
from reward_model.rewards.texts import Text, messages_of, text_of
from reward_model.scorer import RewardScorer


def reward_function(
    reward: RewardScorer | Path | str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    quantization: Quantization | None = None,
) -> Reward:
    """The reward model, or the folder of one, as a function with TRL's `reward_funcs` signature.

    Texts are tokenised as in training, so that the policy may have another tokenizer; completions count as finished.
    """
    if not isinstance(reward, RewardScorer):
        reward = RewardScorer.load(reward, dtype=dtype, device=device, quantization=quantization)
    scorer = reward
    renderer = scorer.base.renderer.unbounded  # the scorer cuts

    def learned(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        asked = [renderer.prompt_ids(messages_of(prompt)) for prompt in prompts]
        said = [renderer.response_ids(text_of(completion)) for completion in completions]
        return cast("list[float]", scorer.score(asked, said).tolist())

    return learned
