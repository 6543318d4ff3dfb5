"""The collect stage's settings."""

from typing import Literal

from pydantic import Field

from backbone.sampling_config import SamplingConfig
from foundation.settings import Settings


class CollectConfig(Settings):
    """Which prompts, and how many responses to each are put before the annotators."""

    prompts: str = Field(
        "auto",
        description='a prompts.jsonl, "everyday" (the project\'s own), "labels" (those of the judgements), or auto',
    )
    limit: int | None = Field(None, ge=1, description="use only the first so many training prompts")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of prompts to hold out, where the file does not say")
    max_prompt_tokens: int = Field(512, ge=1, description="longer prompts are left out, and counted")
    candidates: int = Field(4, ge=2, description="responses to each prompt")
    pairs_per_prompt: int = Field(3, ge=1, description="pairs, or rankings, of them that are put before annotators")
    chooser: Literal["random", "farthest", "best_and_worst", "thompson", "variance", "d_optimal"] = Field(
        "random", description="which of all pairs these are, and which are asked first, by all answers so far"
    )
    sampling: SamplingConfig = Field(SamplingConfig(), description="how the responses are drawn")
