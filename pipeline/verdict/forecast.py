"""How many judgements a verdict will take: simulated from what has been said, or from what may be true.

Nothing here enters a decision.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.verdict.betting import log_capital

RATES = (0.6, 0.65, 0.7, 0.8)
"""Shares of preferences for the candidate at which a verdict is foreseen before it opens."""
TIES = 0.2
"""Share of judgements that prefer neither, before anybody has judged."""
_CONCENTRATION = 4.0
"""How much prompts differ: on each, the share of preferences for the candidate is Beta(4p, 4(1 - p))."""
_SIMULATED = 400


@dataclass(frozen=True, slots=True)
class Forecast:
    """`judgements` until a decision or until the prompts are used up: the mean; `decided`: how often there is one.

    `median` is that of judgements until a decision, None if half of the simulated verdicts have none.
    """

    judgements: float
    decided: float
    median: int | None


def expected_at(rate: float, prompts: int, judges: int, alpha: float, margin: float) -> Forecast:
    """Before anybody has judged, if the candidate is preferred in a `rate` of the judgements that prefer one."""
    rng = np.random.default_rng(0)
    shares = rng.beta(_CONCENTRATION * rate, _CONCENTRATION * (1 - rate), (_SIMULATED, prompts))
    return _simulated(rng, np.zeros(0), shares, TIES, judges, alpha, margin)


def expected_after(
    votes: np.ndarray, prompts: int, judges: int, alpha: float, margin: float, *, wins: int, losses: int, neither: int
) -> Forecast:
    """After `votes` (bets,), which hold so many judgements, with so many prompts left.

    How good the candidate is, is drawn from its posterior under a Beta(2, 2) prior.
    """
    rng = np.random.default_rng(0)
    rates = rng.beta(2 + wins, 2 + losses, (_SIMULATED, 1))
    shares = rng.beta(_CONCENTRATION * rates, _CONCENTRATION * (1 - rates), (_SIMULATED, prompts))
    ties = (neither + 5 * TIES) / (wins + losses + neither + 5)
    return _simulated(rng, votes, shares, ties, judges, alpha, margin)


def _simulated(
    rng: np.random.Generator, before: np.ndarray, shares: np.ndarray, ties: float, judges: int, alpha: float,
    margin: float,
) -> Forecast:  # fmt: skip
    """`shares` (simulations, prompts): how often each prompt's judges who prefer one prefer the candidate."""
    size = (*shares.shape, judges)
    each = np.where(rng.random(size) < ties, 0.5, rng.random(size) < shares[..., None])
    votes = np.concatenate([np.broadcast_to(before, (len(shares), len(before))), each.mean(axis=-1)], axis=1)
    reached = np.maximum(log_capital(votes, 0.5), log_capital(1 - votes, 1 - margin)) >= -np.log(alpha)
    decided = reached.any(axis=1)
    until = np.where(decided, reached.argmax(axis=1) + 1, votes.shape[1]) - len(before)
    needed = np.sort(np.where(decided, until * judges, np.inf))
    middle = float(needed[len(needed) // 2]) if len(needed) else np.inf
    return Forecast(float(until.mean() * judges), float(decided.mean()), int(middle) if np.isfinite(middle) else None)
