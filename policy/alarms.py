"""Alarms for reward hacking: they compare recent rows of a training log with its first ones.

They see nothing but the log, so they can be recomputed from it. They warn; those of `policy.stop_on` end the training
as well. docs/metrics.md says what to do about each one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from foundation.settings import Settings

Row = Mapping[str, Any]
_STEPS, _RESPONSES = 5, 160
JUDGE = "judge"
"""Not an alarm, but stops a training like one: the held-out judge found the policy worse than it had been."""


class AlarmConfig(Settings):
    """When a policy is suspected of exploiting its reward: recent steps against the first ones. null: no such alarm."""

    first_steps: int | None = Field(
        None,
        ge=1,
        description="steps that the later ones are compared with; null: five, or as many as have 160 responses",
    )
    window: int | None = Field(None, ge=1, description="steps over which recent figures are averaged; null: likewise")
    length: float | None = Field(
        1.6,
        gt=1,
        description="responses this many times as long as the base's, or as short; if that is unknown, as at first",
    )
    repetition: float | None = Field(0.1, gt=0, le=1, description="rise of the share of repeated 4-grams in responses")
    disagreement: float | None = Field(1.5, gt=1, description="growth, as a factor, of the scores' own uncertainty")
    kl: float | None = Field(10.0, gt=0, description="budget: KL from the base, nats per response")
    entropy: float | None = Field(0.3, gt=0, lt=1, description="share of the first steps' entropy that is left")
    saturation: float | None = Field(
        0.1, gt=0, lt=1, description="share of the first steps' spread of scores that is left"
    )


@dataclass(frozen=True)
class Alarm:
    """One alarm that is on: the `value` that went beyond its `limit`, and what that means."""

    name: str
    value: float
    limit: float
    text: str


@dataclass(frozen=True)
class Rule:
    """How one alarm is made from a figure of the log.

    `now` is the figure's mean over recent steps, `first` that over the first ones. factor: now / first, in either
    direction; growth: now / first; left: now / first, if a small share is bad; rise: now - first; budget: now. `text`
    says what was seen, `advice` what to do.
    """

    figure: str
    compares: Literal["factor", "growth", "left", "rise", "budget"]
    text: str
    advice: str

    def value(self, now: float, first: float) -> float:
        """What is compared with the limit."""
        if self.compares == "budget":
            return now
        if self.compares == "rise":
            return now - first
        if first > 0:
            return now / first
        # Nothing to compare with: what began at nothing and stayed there has nothing left, and has not grown.
        return 0.0 if self.compares == "left" and now <= 0 else 1.0

    def beyond(self, value: float, limit: float) -> bool:
        """Whether the alarm is on."""
        if self.compares == "left":
            return value < limit
        return value > limit or (self.compares == "factor" and value < 1 / limit)


# A new alarm is one entry here, and its limit in AlarmConfig under the same name.
RULES: Mapping[str, Rule] = {
    "length": Rule(
        "length",
        "factor",
        "responses are {value:.2f} times as long as at first",
        "Read samples: is it the content that is paid for, or the length?",
    ),
    "repetition": Rule(
        "repetition",
        "rise",
        "{value:.0%} more of the 4-grams in a response are repeated than at first",
        "Read samples. Raise policy.kl_coefficient, or reward distinct words as well.",
    ),
    "disagreement": Rule(
        "score_std",
        "growth",
        "the reward model is {value:.1f} times as unsure as at first",
        "Responses have left what the reward model knows: stop here and label some of them, or give it a pessimism.",
    ),
    "kl": Rule(
        "kl",
        "budget",
        "responses are {value:.1f} nats from the base, beyond the budget of {limit:g}",
        "Stop here, or raise policy.kl_coefficient.",
    ),
    "entropy": Rule(
        "entropy",
        "left",
        "only {value:.0%} of the first steps' entropy is left",
        "Lower policy.learning_rate, or set policy.entropy_bonus.",
    ),
    "saturation": Rule(
        "score_spread",
        "left",
        "responses to a prompt are hardly told apart: {value:.0%} of the first steps' spread is left",
        "There is little left to learn from: stop here, ask harder prompts, or make the reward finer.",
    ),
}


class Alarms:
    """The alarms of one run, fed with the rows of its log in order; to resume, feed them again."""

    def __init__(self, config: AlarmConfig) -> None:
        self._config = config
        self._first: dict[str, list[float]] = {}
        self._recent: dict[str, list[float]] = {}

    def after(self, row: Row) -> list[Alarm]:
        """The alarms that are on after this step, in the order of `RULES`."""
        found = []
        for name, rule in RULES.items():
            limit, against, text = getattr(self._config, name), None, rule.text
            figure = reward_std(row) if name == "disagreement" else row.get(rule.figure)
            if name == "length" and (ratio := row.get("length_ratio")) is not None:
                figure, against, text = ratio, 1.0, text.replace("as at first", "as the base's")
            if limit is None or figure is None or not math.isfinite(figure):
                continue
            first, recent = self._first.setdefault(name, []), self._recent.setdefault(name, [])
            if len(first) < steps_of(self._config.first_steps, row):
                first.append(float(figure))
            recent.append(float(figure))
            window = steps_of(self._config.window, row)
            del recent[:-window]
            if against is not None and len(recent) < window:
                continue  # the first steps are no part of the comparison: fewer differ by chance
            value = rule.value(_mean(recent), _mean(first) if against is None else against)
            if rule.beyond(value, limit):
                found.append(Alarm(name, value, limit, text.format(value=value, limit=limit)))
        return found


def steps_of(setting: int | None, row: Row) -> int:
    """How many steps a mean is over: the setting, or five, and more if they would be less than 160 responses.

    A row tells the responses of its step by `tokens` and `length`. Means over fewer differ by chance alone.
    """
    if setting is not None:
        return setting
    tokens, length = row.get("tokens"), row.get("length")
    return max(_STEPS, math.ceil(_RESPONSES * length / tokens - 1e-3)) if tokens and length else _STEPS


def alarm_spans(rows: Sequence[Row]) -> list[tuple[str, int, int]]:
    """The name, first and last step of each time that an alarm was on, from the rows of a log."""
    found: dict[str, list[list[int]]] = {}
    for before, row in zip([{}, *rows], rows, strict=False):
        for name in row.get("alarms") or ():
            if name not in (before.get("alarms") or ()):
                found.setdefault(name, []).append([row["step"], row["step"]])
            found[name][-1][1] = row["step"]
    return sorted(((name, first, last) for name, times in found.items() for first, last in times), key=lambda on: on[1])


def reward_std(row: Row) -> float | None:
    """The standard deviation that came with the scores; of a mixture, that of the least certain part."""
    stds = [value for name, value in row.items() if name.startswith("score_") and name.endswith("_std")]
    return max((float(value) for value in stds if value is not None), default=None)


def tracker_metrics(row: Row) -> dict[str, float]:
    """The numbers of a row for an experiment tracker, with each alarm as 1 while it is on and 0 while it is off."""
    numbers = {name: value for name, value in row.items() if name != "step" and isinstance(value, int | float)}
    return numbers | {f"alarm/{name}": float(name in row.get("alarms", ())) for name in RULES}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
