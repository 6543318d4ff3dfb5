"""Programmatic rewards by name: what is in YAML becomes a function with TRL's `reward_funcs` signature.

    reward = build({"name": "bleu", "smoothing": "floor"})
    reward(prompts=["..."], completions=["..."], references=[["...", "..."]])  # [0.37]

A name with a dot is the path of a function of the user's (`my_package.rewards.politeness`). How several are mixed is in
`mixture.py`. To add a reward, write a `Kind` in `kinds/` and name it in `KINDS`. Every configuration knows all kinds,
so they import what is heavy only when a reward is made.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from foundation.errors import UserError
from foundation.settings import Settings
from reward_model.rewards.interface import Given, Kind, Reward
from reward_model.rewards.kinds.bleu_rouge import Bleu, Chrf, Rouge
from reward_model.rewards.kinds.classifier import Classifier
from reward_model.rewards.kinds.coherence import Coherence
from reward_model.rewards.kinds.format import Format
from reward_model.rewards.kinds.grammar import Grammar
from reward_model.rewards.kinds.keywords import Keywords
from reward_model.rewards.kinds.length import Length
from reward_model.rewards.kinds.safety import Safety
from reward_model.rewards.kinds.unit_tests import PassedTests
from reward_model.rewards.kinds.user_function import UserFunction
from reward_model.rewards.texts import Text

if TYPE_CHECKING:
    from backbone.adapters import SharedBase

LEARNED = "learned"


class Learned(Kind):
    """The learned reward model, which is handed in; it may give pairs of mean and standard deviation."""

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        if given.learned is None:
            raise UserError('the reward "learned" stands for a trained reward model, and none was handed in.')
        return given.learned


KINDS: Mapping[str, type[Kind]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "rouge": Rouge,
    "grammar": Grammar,
    "coherence": Coherence,
    "length": Length,
    "format": Format,
    "keywords": Keywords,
    "safety": Safety,
    "tests_passed": PassedTests,
    "model": Classifier,
    LEARNED: Learned,
}


class RewardSpec(Settings):
    """One reward by name, with its parameters beside it, and its part in a mixture (`mixture.py`)."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="one of the known rewards, or the dotted path of a function")
    label: str | None = Field(None, min_length=1, description="what it is called in logs; null: its name")
    weight: float = Field(1.0, allow_inf_nan=False, description="lambda: how much it counts in the sum")
    pessimism: float = Field(0.0, ge=0, description="k: standard deviations taken off, where the reward gives them")
    normalise: Literal["none", "running", "bounds"] = Field(
        "none", description="running: z-score over all values so far; bounds: `bounds` become 0 and 1"
    )
    bounds: tuple[float, float] | None = Field(None, description="what becomes 0 and 1; values outside are cut")
    clip: tuple[float, float] | None = Field(None, description="least and greatest value after normalisation")
    at_least: float | None = Field(None, description="gate: a response with less replaces the whole sum by `otherwise`")
    otherwise: float = Field(0.0, description="the mixture's value for a response that a gate stops")

    @property
    def title(self) -> str:
        """What it is called in logs and messages."""
        return self.label or self.name

    @property
    def kind(self) -> Kind:
        """The named kind of reward with this spec's parameters."""
        parameters = self.model_extra or {}
        return UserFunction(path=self.name, **parameters) if "." in self.name else KINDS[self.name](**parameters)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if "." not in self.name and self.name not in KINDS:
            raise ValueError(
                f'there is no reward "{self.name}". Known: {", ".join(KINDS)}; or the dotted path of a function'
            )
        if (self.normalise == "bounds") != (self.bounds is not None):
            raise ValueError(f'the reward "{self.title}" needs `normalise: bounds` and `bounds: [low, high]` together')
        for name, pair in (("bounds", self.bounds), ("clip", self.clip)):
            if pair is not None and not pair[0] < pair[1]:
                raise ValueError(f'{name} of the reward "{self.title}" must be [low, high], found {list(pair)}')
        try:
            _ = self.kind
        except ValidationError as error:
            raise ValueError(_explained(self, error)) from error
        return self


LEARNED_ONLY = (RewardSpec(name=LEARNED),)


class BuiltReward:
    """A reward as made from its spec, with what it returns checked; called as TRL calls a reward function.

    `std` are the standard deviations of the last call, if the reward gave any.
    """

    def __init__(self, spec: RewardSpec, reward: Reward) -> None:
        self.spec = spec
        self.std: list[float] | None = None
        self._reward = reward
        self.__name__ = spec.title

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        """One finite value per completion, pessimism taken off; `UserError` if the reward fails to give that."""
        title = self.spec.title
        try:
            returned = self._reward(prompts=prompts, completions=completions, **columns)
            pairs = [value if isinstance(value, tuple | list) else (value, None) for value in returned]
            means = [float(mean) for mean, _ in pairs]
            stds = [float(std) for _, std in pairs if std is not None]
        except UserError:
            raise
        except Exception as error:
            raise UserError(f'the reward "{title}" failed: {type(error).__name__}: {str(error)[:200]}') from error
        if len(means) != len(completions):
            raise UserError(f'the reward "{title}" returned {len(means)} values for {len(completions)} completions.')
        wrong = [row for row, value in enumerate(means, start=1) if not math.isfinite(value)]
        if wrong or not all(map(math.isfinite, stds)):
            where = f"row {wrong[0]}" if wrong else "a standard deviation"
            raise UserError(f'the reward "{title}" is not finite ({where} of {len(means)}).')
        self.std = stds if len(stds) == len(means) else None
        if not self.spec.pessimism:
            return means
        if self.std is None:
            raise UserError(
                f'the reward "{title}" says nothing of its standard deviation, which its pessimism of '
                f"{self.spec.pessimism:g} needs. Set pessimism to 0, or use a reward model with its uncertainty."
            )
        return [mean - self.spec.pessimism * std for mean, std in zip(means, self.std, strict=True)]


def build(
    spec: RewardSpec | Mapping[str, Any], *, base: "SharedBase | None" = None, learned: Reward | None = None
) -> BuiltReward:
    """The reward that `spec` names, ready to be called.

    `base` is for rewards that are computed with the frozen base (coherence, lengths in tokens); `learned` is what the
    name "learned" stands for.
    """
    if not isinstance(spec, RewardSpec):
        spec = read_spec(spec)
    return BuiltReward(spec, spec.kind.make(Given(base, learned)))


def read_spec(values: Mapping[str, Any]) -> RewardSpec:
    """A spec out of YAML; `UserError` names what is wrong in it."""
    try:
        return RewardSpec.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"a reward is specified wrongly: {f'`{where}`: ' if where else ''}{message}.") from error


def _explained(spec: RewardSpec, error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        kind = UserFunction if "." in spec.name else KINDS[spec.name]
        own = [field for field in kind.model_fields if field != "path"]
        common = [field for field in RewardSpec.model_fields if field != "name"]
        return (
            f'the reward "{spec.name}" has no parameter "{name}". Its own: {", ".join(own) or "none"}; '
            f"of every reward: {', '.join(common)}"
        )
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f'the reward "{spec.name}"{f", parameter {name}" if name else ""}: {message}'
