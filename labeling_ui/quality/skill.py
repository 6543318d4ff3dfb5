"""How often an annotator is right, estimated without known answers, and what their vote is worth.

Each annotator prefers the truly better response with a probability of their own (the one-coin model of Dawid and Skene
1979). crowd-kit finds what the answers agree on; each annotator is then measured against the others alone, from a
prior that says "as good as the rest". Tasks are taken to be equally hard, and a tie, which speaks for neither response,
is left out.
"""

import threading
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]
from scipy.special import expit, logit
from scipy.stats import beta

from labeling_ui.quality.agreement import Unit

_Array = npt.NDArray[np.float64]
PRIOR = 20.0  # choices that the pool's accuracy counts as; maximum marginal likelihood on 345 annotators: 20 to 32
_GUESS = 0.8  # the pool's accuracy before anything is known; counts as PRIOR choices, too
_ACCURACIES: _Array = (np.arange(400) + 0.5) / 400
_fence = threading.Lock()


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


def estimate(choices: Sequence[Choice], known: Mapping[Unit, bool] | None = None) -> dict[str, Skill]:
    """Skills out of choices alone, and of gold answers if some are `known` ({unit: the first is better}).

    The posterior of one annotator's accuracy s is Beta(pool) × Π (q s + (1 − q)(1 − s)) over their choices, where q is
    what the others' choices say of that choice (Liu, Peng and Ihler 2012, section 3): agreeing with a doubtful majority
    proves little. It is conditional on the others' accuracies, which are shrunk towards the pool's as well. The
    interval leaves the pool's prior out: it is the annotator's own, and wider.
    """
    known = known or {}
    voters = Counter(choice.unit for choice in choices)
    spoken = [choice for choice in choices if choice.unit in known or voters[choice.unit] > 1]
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
    skills = {}
    for number, name in enumerate(names):
        own = who == number
        skills[str(name)] = _posterior(believed[own], size[own], pool)
    return skills


def skill_weights(skills: Mapping[str, Skill]) -> dict[str, float]:
    """What each annotator's vote counts: log(s / (1 − s)), never below 0, divided by the average choice's.

    With these, a weighted majority of independent votes is right most often (Nitzan and Paroush 1982, theorem 1). A
    guesser counts nothing, and so does whoever is wrong more often than right: nobody is turned around on the strength
    of a model. Where nobody counts, everybody does, the same.
    """
    raw = {name: max(0.0, float(logit(skill.accuracy))) for name, skill in skills.items()}
    choices = sum(skill.choices for skill in skills.values())
    average = sum(raw[name] * skill.choices for name, skill in skills.items()) / choices if choices else 0.0
    return {name: value / average if average > 0 else 1.0 for name, value in raw.items()}


def _truth(choices: Sequence[Choice]) -> dict[Unit, float]:
    """For each unit, the probability that its first response is the better one, by crowd-kit's one-coin model."""
    if not choices:
        return {}
    units = {unit: number for number, unit in enumerate(sorted({choice.unit for choice in choices}))}
    rows = [(units[choice.unit], choice.annotator, int(choice.first)) for choice in choices]
    # Which response comes first means nothing. Said of each unit and of its mirror image, the model cannot think that
    # it does, and always has both labels, without which crowd-kit divides by zero.
    rows += [(-1 - task, worker, 1 - label) for task, worker, label in rows]
    with _fenced():
        from crowdkit.aggregation import OneCoinDawidSkene  # here: it brings all of nltk with it

        model = OneCoinDawidSkene(n_iter=100).fit(pd.DataFrame(rows, columns=["task", "worker", "label"]))
    probabilities: Any = model.probas_
    first = probabilities[1]
    return {unit: float(first[number]) for unit, number in units.items()}


@contextmanager
def _fenced() -> Iterator[None]:
    """Keep in crowd-kit's warnings about its own use of pandas; the list of filters is shared by all threads.

    Of crowd-kit's models the one-coin model draws no random numbers; noisy Bradley-Terry and KOS reseed NumPy's global
    generator. Putting its state back here would rewind it for other threads.
    """
    with _fence, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _by_the_others(choices: Sequence[Choice], known: Mapping[Unit, bool], accuracy: _Array) -> _Array:
    """How probably each choice is right, its own vote left out; `accuracy` is the chooser's. All: (choices,)."""
    votes = logit(accuracy) * [1 if choice.first else -1 for choice in choices]
    total: dict[Unit, float] = defaultdict(float)
    for choice, vote in zip(choices, votes, strict=True):
        total[choice.unit] += float(vote)
    first = expit([total[choice.unit] - vote for choice, vote in zip(choices, votes, strict=True)])
    first = np.array([known.get(choice.unit, found) for choice, found in zip(choices, first, strict=True)], dtype=float)
    return np.where([choice.first for choice in choices], first, 1 - first)


def _posterior(believed: _Array, size: _Array, pool: float) -> Skill:
    likelihood = size @ np.log(believed[:, None] * _ACCURACIES + (1 - believed[:, None]) * (1 - _ACCURACIES))
    accuracy = float(_normalised(likelihood + beta.logpdf(_ACCURACIES, PRIOR * pool, PRIOR * (1 - pool))) @ _ACCURACIES)
    # The interval owes nothing to the pool. With these two priors it is Clopper and Pearson's on known answers.
    low = np.searchsorted(np.cumsum(_normalised(likelihood - np.log(_ACCURACIES))), 0.025)
    high = np.searchsorted(np.cumsum(_normalised(likelihood - np.log(1 - _ACCURACIES))), 0.975)
    return Skill(
        accuracy, min(float(_ACCURACIES[low]), accuracy), max(float(_ACCURACIES[high]), accuracy), len(believed)
    )


def _normalised(logs: _Array) -> _Array:
    density = np.exp(logs - logs.max())
    return np.asarray(density / density.sum())
