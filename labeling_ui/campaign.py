"""What a campaign asks of its annotators: the kind of judgement, and how tasks are handed out.

A campaign is the `label:` section of a run's configuration, kept in the label store beside its tasks. A store may
hold several. What an answer means is fixed once somebody has been asked: another kind, another scale or other aspects
are a new version of the campaign, with tasks of its own (`store/campaigns.py`). Left out on purpose: who the annotators
are (`people/`), and where the app listens.
"""

from typing import Any, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from foundation.settings import Settings

Kind = Literal["pairwise", "ranking", "rating"]
Purpose = Literal["training", "verdict"]


class CampaignSettings(Settings):
    """What annotators are asked, and how their tasks are handed out."""

    name: str = Field("main", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", description="letters, digits, - and _")
    kind: Kind = Field("pairwise", description="pairwise, ranking or rating")
    instructions: str = Field("", max_length=12_000, description="Markdown that annotators see above each task")
    overlap: int = Field(1, ge=1, le=100, description="annotators who judge each task")
    max_overlap: int | None = Field(
        None, ge=1, le=100, description="annotators of a task whose vote stays in doubt; null: never more than overlap"
    )
    confidence: float = Field(
        0.9, gt=0.5, lt=1, description="posterior of a task's vote from which no more annotators are asked"
    )
    qualification: int = Field(
        0, ge=0, le=100, description="known answers to give, with feedback, before anything else is asked; 0 for none"
    )
    qualification_share: float = Field(0.8, gt=0, le=1, description="share of them that must be right")
    qualification_attempts: int = Field(2, ge=1, le=20, description="attempts, each with other known answers")
    responses: int = Field(
        4, ge=2, le=9, description="responses shown at once when ranking; rating shows one, pairwise two"
    )
    aspects: tuple[str, ...] = Field(("helpful", "honest", "harmless"), description="what is rated, each on the scale")
    definitions: dict[str, str] = Field({}, description="what aspects mean, by aspect; shown while they are rated")
    not_applicable: bool = Field(False, description="let annotators say that an aspect does not apply")
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
    quota: int | None = Field(None, ge=1, description="answers that one person may give; null for no limit")
    deadline: AwareDatetime | None = Field(
        None, description="when dealing ends, as in 2030-01-31T18:00:00+01:00; null for never"
    )
    order: int = Field(0, ge=-1000, le=1000, description="campaigns of a lower number are asked first")
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
    def _check_definitions(self) -> "CampaignSettings":
        if unknown := set(self.definitions) - set(self.aspects):
            raise ValueError(
                f"definitions name {', '.join(sorted(unknown))}; the aspects are {', '.join(self.aspects)}"
            )
        if any(len(words) > 500 for words in self.definitions.values()):
            raise ValueError("a definition has up to 500 characters")
        return self

    @model_validator(mode="after")
    def _check_overlap(self) -> "CampaignSettings":
        if self.max_overlap is None:
            return self
        if self.kind != "pairwise":
            raise ValueError(f"max_overlap follows the votes on pairs: it needs kind pairwise, not {self.kind}")
        if self.max_overlap < self.overlap:
            raise ValueError(f"max_overlap is {self.max_overlap}, and overlap is {self.overlap} already")
        return self

    @model_validator(mode="after")
    def _check_live(self) -> "CampaignSettings":
        if self.live and self.kind != "pairwise":
            raise ValueError(f"live generation shows pairs: it needs kind pairwise, not {self.kind}")
        return self


class Campaign(CampaignSettings):
    """A campaign in the label store. What is said in one for a verdict judges a policy, and never trains one."""

    purpose: Purpose = "training"

    def for_verdict(self, name: str, judges: int) -> "Campaign":
        """A campaign that annotators cannot tell from this one, in which `judges` of them compare each pair."""
        fixed = {"overlap": judges, "max_overlap": None, "qualification": 0, "live": False}
        unlimited = {"quota": None, "deadline": None, "order": 0}
        return self.model_copy(update={"name": name, "purpose": "verdict", **fixed, **unlimited})

    @property
    def is_verdict(self) -> bool:
        """Whether this judges a policy."""
        return self.purpose == "verdict"

    @property
    def shown(self) -> int:
        """How many responses a task of this campaign shows."""
        return {"pairwise": 2, "ranking": self.responses, "rating": 1}[self.kind]

    @property
    def votes_wanted(self) -> tuple[int | None, float | None]:
        """How many annotators a task may have, and from which posterior on it has enough; None for a fixed overlap."""
        return self.max_overlap, None if self.max_overlap is None else self.confidence

    @property
    def meaning(self) -> dict[str, Any]:
        """What the meaning of an answer depends on: no setting here changes under an answer that was given."""
        rated = {"aspects": list(self.aspects), "scale": self.scale} if self.kind == "rating" else {}
        return {"kind": self.kind, **rated}

    @property
    def asked(self) -> dict[str, Any]:
        """All that an annotator was asked: the meaning, and the words and fields around it."""
        offered = {"definitions": self.definitions, "not_applicable": self.not_applicable}
        return {
            **self.meaning, "instructions": self.instructions, "rationale": self.rationale, "rewrite": self.rewrite,
            **{name: value for name, value in offered.items() if value},
        }  # fmt: skip
