"""How often an annotator is right, estimated without known answers, and what their vote is worth.

Each annotator prefers the truly better response with a probability of their own (the one-coin model of Dawid and Skene
1979), which finds what the answers agree on (`one_coin.py`). Each annotator is then measured against the others alone,
from a prior that says "as good as the rest". Tasks are taken to be equally hard, and a tie, which speaks for neither
response, is left out.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, expit, logit, xlog1py, xlogy

from labeling_ui.assignment.adaptive_overlap import ASSUMED
from labeling_ui.assignment.answer_comparison import Unit
from labeling_ui.quality.one_coin import better_response
from labeling_ui.quality.skill_intervals import skill_intervals

_Array = npt.NDArray[np.float64]
PRIOR = 20.0  # choices that the pool's accuracy counts as; maximum marginal likelihood on 345 annotators: 20 to 32
_GUESS = ASSUMED  # the pool's accuracy before anything is known; counts as PRIOR choices, too
_ACCURACIES: _Array = (np.arange(400) + 0.5) / 400


@dataclass(frozen=True, slots=True)
class Choice:
    """Of two responses, `annotator` preferred the first (by id), or the second.

    `share`: how much this says if several choices come from one answer: the pairs of a ranking are not independent.
    """

    annotator: str
    unit: Unit
    first: bool
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Skill:
    """The probability of preferring the truly better response, 0.5 for a guesser, with its 95% interval.

    `choices` counts those that another annotator or a gold answer speaks of.
    """

    accuracy: float
    low: float
    high: float
    choices: int


def estimate(
    choices: Sequence[Choice], known: Mapping[Unit, bool] | None = None, *, intervals: bool = True
) -> dict[str, Skill]:
    """Skills out of choices alone, and of gold answers if some are `known` ({unit: the first is better}).

    The posterior of one annotator's accuracy s is Beta(pool) × Π (q s + (1 − q)(1 − s)) over their choices, where q is
    what the others' choices say of that choice (Liu, Peng and Ihler 2012, section 3): agreeing with a doubtful majority
    proves little. It is conditional on the others' accuracies, which are shrunk towards the pool's as well. The
    interval is not: it leaves the pool out and supposes nothing of the others (`skill_intervals.py`). It takes most of
    the time; without `intervals`, it is from 0 to 1.
    """
    known = known or {}
    voters = Counter(choice.unit for choice in choices)
    spoken = [choice for choice in choices if choice.unit in known or voters[choice.unit] > 1]
    spoken.sort(key=lambda each: (each.unit, each.annotator, each.first, each.share))  # sums are the same in any order
    if not spoken:
        return {}
    truth = {unit: float(first) for unit, first in known.items()}
    truth |= _truth([choice for choice in spoken if choice.unit not in known])

    right = np.array([truth[choice.unit] if choice.first else 1 - truth[choice.unit] for choice in spoken])
    size = np.array([choice.share for choice in spoken])
    names, who = np.unique([choice.annotator for choice in spoken], return_inverse=True)
    pool = (PRIOR * _GUESS + float(right @ size)) / (PRIOR + float(size.sum()))
    accuracy = (PRIOR * pool + np.bincount(who, right * size)) / (PRIOR + np.bincount(who, size))

    believed = _by_the_others(spoken, known, accuracy[who])
    low, high = _intervals(spoken, who, size, known, accuracy) if intervals else (0 * accuracy, 0 * accuracy + 1)
    skills = {}
    for number, name in enumerate(names):
        own = who == number
        found = _accuracy(believed[own], size[own], pool)
        skills[str(name)] = Skill(
            found, min(float(low[number]), found), max(float(high[number]), found), int(own.sum())
        )
    return skills


def skill_weights(skills: Mapping[str, Skill]) -> dict[str, float]:
    """What each annotator's vote counts: log(s / (1 − s)), never below 0, divided by the average choice's.

    With these, a weighted majority of independent votes is right most often (Nitzan and Paroush 1982, theorem 1). A
    guesser counts nothing, and so does whoever is wrong more often than right: nobody is turned around on the strength
    of a model. Where nobody counts, everybody does, the same.
    """
    raw = {name: max(0.0, float(logit(skill.accuracy))) for name, skill in skills.items()}
    choices = sum(skill.choices for skill in skills.values())
    # Summed exactly: imported into another store, annotators may come in another order.
    said = math.fsum(raw[name] * skill.choices for name, skill in skills.items())
    average = said / choices if choices else 0.0
    return {name: value / average if average > 0 else 1.0 for name, value in raw.items()}


def _truth(choices: Sequence[Choice]) -> dict[Unit, float]:
    """For each unit, the probability that its first response is the better one, by the one-coin model."""
    if not choices:
        return {}
    numbers = {unit: number for number, unit in enumerate(sorted({choice.unit for choice in choices}))}
    who = np.unique([choice.annotator for choice in choices], return_inverse=True)[1]
    unit = np.array([numbers[choice.unit] for choice in choices])
    better = better_response(unit, who, np.array([choice.first for choice in choices]))
    return dict(zip(numbers, better.tolist(), strict=True))


def _by_the_others(choices: Sequence[Choice], known: Mapping[Unit, bool], accuracy: _Array) -> _Array:
    """How probably each choice is right, its own vote left out; `accuracy` is the chooser's. All: (choices,)."""
    votes = logit(accuracy) * [1 if choice.first else -1 for choice in choices]
    total: dict[Unit, float] = defaultdict(float)
    for choice, vote in zip(choices, votes, strict=True):
        total[choice.unit] += float(vote)
    first = expit([total[choice.unit] - vote for choice, vote in zip(choices, votes, strict=True)])
    first = np.array([known.get(choice.unit, found) for choice, found in zip(choices, first, strict=True)], dtype=float)
    return np.where([choice.first for choice in choices], first, 1 - first)


def _accuracy(believed: _Array, size: _Array, pool: float) -> float:
    """The mean of the posterior."""
    likelihood = size @ np.log(believed[:, None] * _ACCURACIES + (1 - believed[:, None]) * (1 - _ACCURACIES))
    # As `scipy.stats.beta.logpdf` has it, which takes half a second to load.
    right, wrong = PRIOR * pool, PRIOR * (1 - pool)
    prior = xlog1py(wrong - 1, -_ACCURACIES) + xlogy(right - 1, _ACCURACIES) - betaln(right, wrong)
    return float(_normalised(likelihood + prior) @ _ACCURACIES)


def _intervals(
    choices: Sequence[Choice], who: npt.NDArray[np.intp], size: _Array, known: Mapping[Unit, bool], accuracy: _Array
) -> tuple[_Array, _Array]:
    units = {unit: number for number, unit in enumerate(sorted({choice.unit for choice in choices}))}
    answers = np.array([0.0 if (first := known.get(unit)) is None else 1.0 if first else -1.0 for unit in units])
    unit = np.array([units[choice.unit] for choice in choices])
    vote = np.array([1.0 if choice.first else -1.0 for choice in choices])
    return skill_intervals(who, unit, vote, size, answers, accuracy.round(6))


def _normalised(logs: _Array) -> _Array:
    density = np.exp(logs - logs.max())
    return np.asarray(density / density.sum())
