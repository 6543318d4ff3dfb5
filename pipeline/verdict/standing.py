"""How a verdict stands: the content of verdict.json, worked out from the label store whenever it is asked for.

The same votes always give the same decision, whenever one looks: it falls at the first bet that decides, and what came
after that one is late.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from foundation.files import Row
from labeling_ui.store.store import Store
from pipeline.verdict import figures
from pipeline.verdict.ballots import Ballots, Vote, read_ballots
from pipeline.verdict.betting import Decision, can_decide, decide, interval
from pipeline.verdict.forecast import expected_after


class Plan(BaseModel):
    """What a verdict was opened with, and keeps whatever is set later: who is compared, and when it is decided."""

    model_config = ConfigDict(frozen=True)

    campaign: str
    candidate: dict[str, Any]
    champion: dict[str, Any]
    judges: int
    alpha: float
    margin: float


def standing(store: Store, plan: Plan, pairs: Sequence[Row]) -> Row:
    """The content of verdict.json as it is now; `outcome` is "open" while it may still be decided."""
    ballots = read_ballots(store, plan.campaign, pairs)
    decision = decide(ballots.values, plan.alpha, plan.margin)
    bets = ballots.bets[: decision.bets]
    votes = [vote for bet in bets for vote in bet.votes]
    said, left = figures.counted(votes), len(pairs) - len(ballots.bets)
    outcome: str = decision.outcome
    if outcome == "open" and (not left or not store.waiting(plan.campaign) or not _may_decide(ballots, left, plan)):
        outcome = "undecided"
    values = ballots.values[: decision.bets]
    return {
        "candidate": plan.candidate,
        "champion": plan.champion,
        "outcome": outcome,
        "by": _by(votes),
        "judgements": len(votes),
        "prompts": len(bets),
        **said,
        "settled": dict(Counter(bet.settled for bet in bets if bet.settled)),
        "win_rate": float(values.mean()) if len(values) else None,
        "interval": list(interval(values)) if len(values) else [0.0, 1.0],
        "e_value": decision.e_value,
        "e_futility": decision.e_futility,
        "alpha": plan.alpha,
        "margin": plan.margin,
        "expected_more": _expected_more(ballots, left, plan, said) if outcome == "open" else None,
        "late": _late(ballots, decision),
        "by_annotator": figures.by_annotator(bets),
        "by_length": figures.by_length(bets),
        "by_topic": figures.by_topic(bets),
        "length_controlled": figures.length_controlled(bets),
        "agreement": figures.agreement(bets),
        "judges": figures.automatic_judges(bets),
        "campaign": plan.campaign,
    }


def _by(votes: Sequence[Vote]) -> str:
    """Who voted: "people", "simulated", "mixed" if both did, "nobody" if every pair was settled without a vote."""
    programs = sum(vote.program is not None for vote in votes)
    if not votes:
        return "nobody"
    return "people" if not programs else "simulated" if programs == len(votes) else "mixed"


def _may_decide(ballots: Ballots, left: int, plan: Plan) -> bool:
    """Whether the prompts that are left could still decide, if all were won or all were lost."""
    losses = np.concatenate([ballots.values, np.zeros(left)])
    futile = decide(losses, plan.alpha, plan.margin).outcome == "not_better"
    return futile or can_decide(ballots.values, left, plan.alpha)


def _expected_more(ballots: Ballots, left: int, plan: Plan, said: Mapping[str, int]) -> int:
    neither = said["ties"] + said["both_bad"]
    expected = expected_after(
        ballots.values, left, plan.judges, plan.alpha, plan.margin,
        wins=said["wins"], losses=said["losses"], neither=neither,
    )  # fmt: skip
    return max(1, round(expected.judgements) - ballots.pending)


def _late(ballots: Ballots, decision: Decision) -> int:
    """Judgements that are kept and do not count: after a bet was placed or, once it is decided, of any other prompt."""
    if decision.outcome == "open":
        return ballots.late
    after = sum(len(bet.votes) for bet in ballots.bets[decision.bets :])
    return ballots.late + ballots.pending + after
