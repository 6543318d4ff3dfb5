"""What a campaign asks of its annotators: the kind of judgement, and how tasks are handed out.

A campaign is the `label:` section of a run's configuration, kept in the label store beside its tasks. A store may
hold several. What an answer means is fixed once somebody has been asked: another scale or other aspects are a new
version of the campaign, with tasks of its own (`store/campaigns.py`). Left out on purpose: who the annotators are
(`people/`), and where the app listens.
"""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from foundation.settings import Settings

Kind = Literal["pairwise", "ranking", "rating"]


class Campaign(Settings):
    """What annotators are asked, and how their tasks are handed out."""

    name: str = Field("main", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="letters, digits, - and _")
    kind: Kind = Field("pairwise", description="pairwise, ranking or rating")
    instructions: str = Field("", max_length=4000, description="plain text that annotators see above each task")
    overlap: int = Field(1, ge=1, le=100, description="annotators who judge each task")
    responses: int = Field(
        4, ge=2, le=9, description="responses shown at once when ranking; rating shows one, pairwise two"
    )
    aspects: tuple[str, ...] = Field(("helpful", "honest", "harmless"), description="what is rated, each on the scale")
    scale: int = Field(7, ge=2, le=9, description="ratings run from 1 to this")
    rationale: Literal["off", "optional", "required"] = Field(
        "optional", description="whether the reason can be written down"
    )
    rewrite: bool = Field(False, description="offer to rewrite the better response")
    gold_share: float = Field(0.05, ge=0, le=0.5, description="share of tasks with a known answer, where there are any")
    repeat_share: float = Field(
        0.05, ge=0, le=0.5, description="share of an annotator's tasks shown again later, swapped"
    )
    random_share: float = Field(0.2, ge=0, le=1, description="share of tasks drawn at random, whatever their priority")
    lease_minutes: float = Field(
        10, gt=0, le=1440, description="how long a task waits for the annotator who was given it"
    )
    idle_seconds: float = Field(30, gt=0, description="a pause from which on time no longer counts as judging")
    shortest_seconds: float = Field(1, ge=0, description="faster answers are reported as below the time floor")
    break_minutes: float | None = Field(
        45, gt=0, description="minutes of judging after which a break is proposed; null for never"
    )
    live: bool = Field(
        False, description="let annotators type prompts and judge two fresh responses; with kind pairwise"
    )

    @field_validator("aspects")
    @classmethod
    def _check_aspects(cls, aspects: tuple[str, ...]) -> tuple[str, ...]:
        tidy = tuple(" ".join(aspect.split()) for aspect in aspects)
        if not 1 <= len(tidy) <= 9 or not all(0 < len(aspect) <= 40 for aspect in tidy):
            raise ValueError("give 1 to 9 aspects of up to 40 characters each")
        if len(set(tidy)) < len(tidy):
            raise ValueError("an aspect is named twice")
        return tidy

    @model_validator(mode="after")
    def _check_live(self) -> "Campaign":
        if self.live and self.kind != "pairwise":
            raise ValueError(f"live generation shows pairs: it needs kind pairwise, not {self.kind}")
        return self

    @property
    def shown(self) -> int:
        """How many responses a task of this campaign shows."""
        return {"pairwise": 2, "ranking": self.responses, "rating": 1}[self.kind]

    @property
    def meaning(self) -> dict[str, Any]:
        """What the meaning of an answer depends on: no setting here changes under an answer that was given."""
        rated = {"aspects": list(self.aspects), "scale": self.scale} if self.kind == "rating" else {}
        return {"kind": self.kind, **rated}

    @property
    def asked(self) -> dict[str, Any]:
        """All that an annotator was asked: the meaning, and the words and fields around it."""
        return {
            **self.meaning, "instructions": self.instructions, "rationale": self.rationale, "rewrite": self.rewrite,
        }  # fmt: skip
