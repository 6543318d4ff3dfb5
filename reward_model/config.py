"""The reward stage's settings."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from foundation.settings import Settings


class RewardConfig(Settings):
    """The reward stage. One step is one update of the adapter and head on about `batch_size` labels."""

    learn: Literal["auto", "adapter", "probe"] = Field(
        "auto",
        description="what gives the score: an adapter with a head; a linear probe of the base's own states, fitted in "
        "seconds; or auto: both are learned, and the one that held-out labels are likelier under is taken",
    )
    epochs: float = Field(1.0, gt=0, description="passes over the training labels, at most so many with patience")
    patience: int | None = Field(
        None,
        ge=1,
        description="stop after so many checks without likelier validation labels, and keep the best; or null",
    )
    validation: float = Field(0.1, gt=0, lt=1, description="with patience: share of the training prompts to check on")
    checks_per_epoch: float = Field(2.0, gt=0, description="with patience: how often to check")
    learning_rate: float = Field(5e-4, gt=0, description="of AdamW, falling along a cosine after the warm-up")
    warmup: float = Field(
        0.05, ge=0, lt=1, description="share of the steps over which the learning rate rises from zero"
    )
    batch_size: int = Field(8, ge=1, description="labels in a step, a multiple of micro_batch")
    micro_batch: int = Field(1, ge=1, description="prompts in one forward and backward pass; the rest accumulates")
    max_length: int = Field(512, ge=8, description="tokens of prompt and response; the oldest of the prompt is cut")
    initial: Path | None = Field(
        None, description="a reward adapter of this base to start from, with its own head, rank and layers"
    )
    lora_rank: int = Field(16, ge=1, description="rank of the adapter")
    lora_alpha: float = Field(32, gt=0, description="scale of the adapter, times its rank")
    lora_targets: str | tuple[str, ...] = Field(
        "all-linear",
        description="which layers carry the adapter; all-linear: those of the language model but its head and routers",
    )
    lora_layers: float = Field(
        0.5, gt=0, le=1, description="share of the model's blocks, the last ones, that carry the adapter"
    )
    held_out: float = Field(0.15, gt=0, lt=1, description="share of the prompts kept for measuring accuracy")
    margin: bool = Field(True, description="ask for a larger score difference where the preference was stronger")
    soft_labels: bool = Field(True, description="learn how many preferred a response, not only which most preferred")
    weights: bool = Field(True, description="let labels count by their weight: how many annotators, and how skilled")
    ties: bool = Field(
        True, description="learn from ties that responses are alike (Davidson 1970); false: from the other votes alone"
    )
    aspects: tuple[str, ...] | None = Field(
        None, description="rated aspects to learn, each a score head of its own; null for all that were rated"
    )
    length_debias: float = Field(
        0.0, ge=0, le=1, description="how much of what length alone predicts is kept out of the score: 0 none, 1 all"
    )
    center_rewards_coefficient: float | None = Field(
        0.01, ge=0, description="pulls scores towards mean zero (Eisenstein et al. 2023, eq. 2); null for none"
    )
    ensemble: int = Field(
        1, ge=1, le=10, description="reward models to train, adapters on one base; they are unsure where they differ"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")
    checkpoint_every: int = Field(20, ge=1, description="steps between checkpoints")
    log_every: int = Field(5, ge=1, description="steps between entries of the training log")
    tracker: Literal["none", "trackio", "wandb", "tensorboard"] = Field("none", description="where figures go as well")

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        if self.batch_size % min(self.micro_batch, self.batch_size):
            raise ValueError(f"batch_size={self.batch_size} must be a multiple of micro_batch={self.micro_batch}")
        if self.initial and self.ensemble > 1:
            raise ValueError("members of an ensemble begin differently: leave out initial, or set ensemble to 1")
        if self.learn == "probe" and (self.initial or self.ensemble > 1 or self.length_debias):
            raise ValueError("initial, ensemble and length_debias are for an adapter: leave them out, or learn=auto")
        return self
