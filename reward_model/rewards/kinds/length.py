"""Length: how far a response is from a target, or outside a band."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from reward_model.rewards.interface import Given, Kind, Reward
from reward_model.rewards.texts import Text, text_of, words


class Length(Kind):
    """0 within a band of lengths, falling to -1 outside: a target, a band, or a soft cap (a band with no lower end).

    At a distance d from the band the value is -min(1, d/fall).
    """

    unit: Literal["words", "tokens", "characters"] = Field("words", description="what is counted")
    target: float | None = Field(None, gt=0, description="the one best length")
    low: float | None = Field(None, ge=0, description="shortest length without a penalty")
    high: float | None = Field(None, gt=0, description="longest length without a penalty")
    fall: float | None = Field(
        None,
        gt=0,
        description="distance at which the value is -1; null: as much as the target, or the band's upper end",
    )

    @model_validator(mode="after")
    def _one_band(self) -> Self:
        if (self.target is None) == (self.low is None and self.high is None):
            raise ValueError("give either target, or low and/or high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        return self

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        low = self.target if self.target is not None else self.low or 0.0
        high = self.target if self.target is not None else float("inf") if self.high is None else self.high
        fall = self.fall or (low if high == float("inf") else high) or 1.0

        def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            lengths = self._lengths(completions, columns, given)
            return [0.0 - min(1.0, max(low - length, length - high, 0.0) / fall) for length in lengths]

        return reward

    def _lengths(self, completions: Sequence[Text], columns: dict[str, Any], given: Given) -> list[int]:
        if self.unit == "tokens" and columns.get("completion_ids") is not None:
            return [len(ids) for ids in columns["completion_ids"]]
        texts = [text_of(completion) for completion in completions]
        if self.unit == "tokens":
            renderer = given.needed_base("length").renderer
            return [len(renderer.response_ids(text)) for text in texts]
        return [len(text) if self.unit == "characters" else len(words(text)) for text in texts]
