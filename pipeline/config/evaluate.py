"""The evaluate stage's settings."""

from pydantic import Field

from backbone.sampling_config import SamplingConfig
from foundation.settings import Settings


class EvaluateConfig(Settings):
    """How many held-out prompts are answered, and how."""

    prompts: int = Field(64, ge=1, description="held-out prompts, the first so many")
    sampling: SamplingConfig = Field(SamplingConfig(), description="of the sampled comparison; the other one is greedy")
    best_of_n: int = Field(1, ge=1, description="above 1: also against the best of so many of the base's, by its score")
    shown: int = Field(8, ge=0, description="best and worst pairs to show in the report")

    @property
    def responses(self) -> int:
        """How many are drawn for each prompt."""
        return 4 + (self.best_of_n if self.best_of_n > 1 else 0)
