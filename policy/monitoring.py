"""What watches the policy stage: alarms for reward hacking, repetition, and what a step took of the machine.

Alarms look at the rows of the log and at nothing else: whoever has the rows has the alarms. They tell and never act;
what to do about each one is in docs/metrics.md.
"""

import math
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field

from foundation.settings import Settings

OF_THE_MACHINE = ("seconds_", "tokens_per_second", "peak_memory")
"""How the names of those figures begin that two equal runs need not share."""

Row = Mapping[str, Any]


class AlarmConfig(Settings):
    """When a policy is suspected of exploiting its reward: recent steps against the first ones. null: no such alarm."""

    first_steps: int = Field(5, ge=1, description="steps whose mean the later ones are compared with")
    window: int = Field(5, ge=1, description="steps over which recent figures are averaged")
    length: float | None = Field(1.5, gt=1, description="responses this many times as long as at first, or as short")
    repetition: float | None = Field(0.1, gt=0, le=1, description="rise of the share of repeated 4-grams in responses")
    disagreement: float | None = Field(1.5, gt=1, description="growth, as a factor, of the scores' own uncertainty")
    kl: float | None = Field(20.0, gt=0, description="budget: KL from the base, nats a response")
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
    direction; growth: now / first; left: now / first, where little is bad; rise: now - first; budget: now. `text` says
    what was seen, `advice` what to do.
    """

    figure: str
    compares: Literal["factor", "growth", "left", "rise", "budget"]
    text: str
    advice: str

    def value(self, now: float, first: float) -> float:
        """What is held against the limit."""
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
    """The alarms of one run, fed with the rows of its log in order; to go on later, feed them again."""

    def __init__(self, config: AlarmConfig) -> None:
        self._config = config
        self._first: dict[str, list[float]] = {}
        self._recent: dict[str, list[float]] = {}

    def after(self, row: Row) -> list[Alarm]:
        """The alarms that are on after this step, in the order of `RULES`."""
        found = []
        for name, rule in RULES.items():
            limit = getattr(self._config, name)
            figure = uncertainty(row) if name == "disagreement" else row.get(rule.figure)
            if limit is None or figure is None or not math.isfinite(figure):
                continue
            first, recent = self._first.setdefault(name, []), self._recent.setdefault(name, [])
            if len(first) < self._config.first_steps:
                first.append(float(figure))
            recent.append(float(figure))
            del recent[: -self._config.window]
            value = rule.value(_mean(recent), _mean(first))
            if rule.beyond(value, limit):
                found.append(Alarm(name, value, limit, rule.text.format(value=value, limit=limit)))
        return found


def spans(rows: Sequence[Row]) -> list[tuple[str, int, int]]:
    """What `alarms` in the rows of a log come to: name, first and last step of each time that one was on."""
    found: dict[str, list[list[int]]] = {}
    for before, row in zip([{}, *rows], rows, strict=False):
        for name in row.get("alarms") or ():
            if name not in (before.get("alarms") or ()):
                found.setdefault(name, []).append([row["step"], row["step"]])
            found[name][-1][1] = row["step"]
    return sorted(((name, first, last) for name, times in found.items() for first, last in times), key=lambda on: on[1])


def uncertainty(row: Row) -> float | None:
    """The standard deviation that the reward gave with its scores; of a mixture the largest part's."""
    stds = [value for name, value in row.items() if name.startswith("score_") and name.endswith("_std")]
    return max((float(value) for value in stds if value is not None), default=None)


def repetition(response_ids: Sequence[Sequence[int]], n: int = 4) -> torch.Tensor:
    """The share of each response's n-grams that it had already used: (len(response_ids),), fp32, on the CPU.

    0 where all differ, and where there is none. seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319).
    """
    shares = []
    for ids in response_ids:
        grams = [tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)]
        shares.append(1 - len(set(grams)) / len(grams) if grams else 0.0)
    return torch.tensor(shares, dtype=torch.float32)


def spread(scores: Sequence[float], group: int) -> float:
    """How far apart the scores of one prompt's responses are: standard deviation, mean over prompts.

    `scores` are ordered by prompt, `group` to each. With groups of one, the standard deviation over all.
    """
    values = torch.tensor(scores, dtype=torch.float64)
    groups = values.view(-1, group) if group > 1 else values.view(1, -1)
    return float(groups.std(dim=1, correction=0).mean())


def of_machine(seconds: Mapping[str, float], tokens: int, device: torch.device) -> dict[str, float]:
    """What a step took: seconds of each phase, tokens of all responses for each of these seconds, peak memory in GB."""
    spent = sum(seconds.values())
    return {
        **{f"seconds_{phase}": round(each, 3) for phase, each in seconds.items()},
        "tokens_per_second": round(tokens / spent, 1) if spent else 0.0,
        "peak_memory_gb": round(peak_memory(device) / 1e9, 3),
    }


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest point of this process so far: of the GPU where it computes there, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def for_trackers(row: Row) -> dict[str, float]:
    """The row as trackers take it: numbers, and each alarm as 1 while it is on and 0 while it is not."""
    numbers = {name: value for name, value in row.items() if name != "step" and isinstance(value, int | float)}
    return numbers | {f"alarm/{name}": float(name in row.get("alarms", ())) for name in RULES}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
