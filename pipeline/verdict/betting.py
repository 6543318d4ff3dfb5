"""The statistics of a verdict: is the candidate preferred on more than half of the prompts? They hold at every look.

One bet a prompt, on the mean vote of its judges: 1 for the candidate, 0 for the champion, one half for neither. Votes
on one prompt resemble one another, and so are one observation. With the win rate w, capital that is bet against
"w <= m" grows only by chance if that is true: it reaches 1/alpha with probability alpha at most, whenever one looks
(Ville 1939). Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting", Theorem 3: a
confidence sequence holds the m against which neither of two capitals, each with half the stake, has reached 1/alpha.
In the place of their predictable plug-in, a fixed fraction of what can be lost is bet, and the capitals of several
fractions are averaged (the method of mixtures), so that neither the order of the bets nor a tuned constant matters.

Left out on purpose: where votes come from (`ballots.py`), and how many more are needed (`forecast.py`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Outcome = Literal["better", "not_better", "open"]

FRACTIONS = np.arange(1, 9) / 10
"""Of what can be lost: the best one is (wins - losses) / (wins + losses), so these are for 55% to 90% of wins."""
_STEPS = 40


def log_capital(votes: np.ndarray, mean: float | np.ndarray, fractions: np.ndarray = FRACTIONS) -> np.ndarray:
    """The log of the capital bet against "the win rate is at most `mean`", after each bet: (..., prompts).

    `votes` (..., prompts) are mean votes from 0 to 1; `mean`, in (0, 1), is a number or (..., 1). Bet on `1 - votes`
    against `1 - mean`, it is the capital against "at least `mean`". `fractions` may also be (prompts,), one for each
    bet, wrapped as (1, prompts): then they have to be predictable.
    """
    fractions = fractions[:, None] if fractions.ndim == 1 else fractions
    edge = np.asarray(votes / mean - 1)[..., None, :]
    capitals = np.cumsum(np.log1p(fractions * edge), axis=-1)
    most = capitals.max(axis=-2)
    return np.asarray(most + np.log(np.exp(capitals - most[..., None, :]).mean(axis=-2)))


def interval(votes: np.ndarray, alpha: float = 0.05) -> tuple[float, float]:
    """The win rate's confidence sequence after these votes (prompts,): 1 - alpha that it holds at all looks at once."""
    return _lowest(votes, alpha / 2), 1 - _lowest(1 - votes, alpha / 2)


def _lowest(votes: np.ndarray, alpha: float) -> float:
    """The least mean against which the capital is below 1/alpha: it falls with the mean, so that halving finds it."""
    if not votes.any():
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        refuted = log_capital(votes, middle)[-1] >= -np.log(alpha)
        low, high = (middle, high) if refuted else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Decision:
    """What the first `bets` votes come to: the e-values against "at most one half" and "at least the margin"."""

    outcome: Outcome
    bets: int
    e_value: float
    e_futility: float


def decide(votes: np.ndarray, alpha: float = 0.05, margin: float = 0.5) -> Decision:
    """The first decision in the order of the votes (prompts,); "open" after all of them if there is none."""
    if not len(votes):
        return Decision("open", 0, 1.0, 1.0)
    better, futile = log_capital(votes, 0.5), log_capital(1 - votes, 1 - margin)
    reached = np.flatnonzero(np.maximum(better, futile) >= -np.log(alpha))
    last = int(reached[0]) if reached.size else len(votes) - 1
    outcome: Outcome = "open"
    if reached.size:
        outcome = "better" if better[last] >= -np.log(alpha) else "not_better"
    return Decision(outcome, last + 1, float(np.exp(better[last])), float(np.exp(futile[last])))


def can_decide(settled: np.ndarray, prompts: int, alpha: float = 0.05) -> bool:
    """Whether "better" can be reached at all: by `prompts` wins after the votes that are `settled` already."""
    best = np.concatenate([settled, np.ones(prompts)])
    return decide(best, alpha, margin=0.5).outcome == "better"


def prompts_needed(alpha: float = 0.05) -> int:
    """The fewest prompts that can decide: if the candidate wins on all of them."""
    wins = log_capital(np.ones(1000), 0.5)
    return int(np.argmax(wins >= -np.log(alpha))) + 1
