"""Any sequence-classification model of transformers as a reward: somebody else's reward model, sentiment, toxicity.

    rewards:
      - {name: model, model: OpenAssistant/reward-model-deberta-v3-large-v2}

Reward models with heads of their own (no `...ForSequenceClassification`) are left out: name a function of yours that
loads them. How texts reach the model is in `language_models/classifier.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from backbone.loading.model_folder import files_of
from reward_model.rewards.interface import Given, Kind, Reward


class Classifier(Kind):
    """The logit of a sequence-classification model, in the model's own units."""

    model: str = Field(description="a folder or a hub id")
    output: int | str | None = Field(None, description="which logit, by number from 0 or by label; needed with several")
    max_length: int | None = Field(None, ge=8, description="tokens, the oldest are cut; null: what the model allows")
    batch: int = Field(8, ge=1, description="texts in one forward pass")
    dtype: str = Field("auto", pattern="^(auto|float32|bfloat16|float16)$", description="dtype of its weights")
    device: str = Field("auto", description="auto, cpu or cuda")

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        from reward_model.rewards.language_models.classifier import classifier

        return classifier(
            self.model, output=self.output, max_length=self.max_length, batch=self.batch, dtype=self.dtype,
            device=self.device,
        )  # fmt: skip

    def reads(self) -> Mapping[str, Sequence[Path]]:
        """See `Kind`."""
        return {"model": files_of(self.model)}
