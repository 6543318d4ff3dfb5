"""What a candidate must keep to when it replaces the champion."""

from pydantic import Field, field_validator

from foundation.settings import Settings


class PromotionConfig(Settings):
    """Limits beside the verdict: a policy that people prefer is kept back if it goes beyond one of them."""

    kl: float | None = Field(
        None, gt=0, description="largest KL from the base, nats per response; null: 1.5 times policy.kl_target, if set"
    )
    length: tuple[float, float] = Field(
        (0.6, 1.6), description="words per response, at least and at most so many times the base's"
    )
    likelihood: float = Field(
        0.1, gt=0, description="largest loss of log-likelihood on general text against the champion, nats per token"
    )
    format: float = Field(
        0.2, gt=0, le=1, description="largest loss of the share of sound responses (ended, not empty, no loops)"
    )

    @field_validator("length")
    @classmethod
    def _check_length(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= band[0] < band[1]:
            raise ValueError("give the lower bound first, as in [0.6, 1.6]")
        return band
