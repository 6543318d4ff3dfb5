"""What is told of a verdict beside its decision: by judge, topic and length, at equal length, and by automatic judges.

None of it decides. Intervals here are those of a fixed number of prompts; only the verdict's own one holds at any look.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from foundation.files import Row
from foundation.intervals import clustered_share_interval
from pipeline.evaluation.statistics import win_rate
from pipeline.verdict.ballots import Bet, Vote
from pipeline.verdict.pairs import CANDIDATE, CHAMPION

_KINDS = {"win": "wins", "tie": "ties", "both_bad": "both_bad", "loss": "losses"}
_SIMILAR = 0.25
"""Lengths that differ by no more than this part of the longer one are similar."""
_STEPS = 50


def counted(votes: Iterable[Vote]) -> dict[str, int]:
    """How many votes of each kind."""
    said = Counter(vote.said for vote in votes)
    return {name: said[kind] for kind, name in _KINDS.items()}


def by_annotator(bets: Sequence[Bet]) -> list[Row]:
    """The votes of each judge, by an id that means nothing, with the win rate and its interval."""
    own: dict[str, list[Vote]] = {}
    for vote in (vote for bet in bets for vote in bet.votes):
        own.setdefault(vote.annotator, []).append(vote)
    return [
        {
            "annotator": who, "program": votes[0].program, "judgements": len(votes), **counted(votes),
            **_rate([vote.value for vote in votes]),
        }
        for who, votes in sorted(own.items())
    ]  # fmt: skip


def by_length(bets: Sequence[Bet]) -> list[Row]:
    """The win rate where the candidate's response is shorter, similar (within a quarter) or longer, in words."""
    found: dict[str, list[float]] = {"shorter": [], "similar": [], "longer": []}
    for bet in (bet for bet in bets if bet.votes):
        candidate, champion = _words(bet)
        near = abs(candidate - champion) <= _SIMILAR * max(candidate, champion)
        found["similar" if near else "shorter" if candidate < champion else "longer"].append(bet.value)
    return [{"candidate": how, "prompts": len(values), **_rate(values)} for how, values in found.items() if values]


def by_topic(bets: Sequence[Bet]) -> list[Row]:
    """The win rate for each `topic` that the file of prompts names, the commonest first."""
    found: dict[str, list[float]] = {}
    for bet in (bet for bet in bets if bet.votes and "topic" in bet.pair):
        found.setdefault(bet.pair["topic"], []).append(bet.value)
    ordered = sorted(found.items(), key=lambda each: (-len(each[1]), each[0]))
    return [{"topic": topic, "prompts": len(values), **_rate(values)} for topic, values in ordered]


def length_controlled(bets: Sequence[Bet]) -> Row | None:
    """The win rate if both responses were equally long; None where too few differ to tell.

    After Dubois et al. 2024 (length-controlled AlpacaEval): a logistic regression of the mean vote on the difference in
    log words (over its standard deviation, through tanh), read at a difference of zero. `interval` is by the sandwich
    estimator. A ridge of one unit on the slope keeps it finite.
    """
    voted = [bet for bet in bets if bet.votes]
    lengths = np.array([_words(bet) for bet in voted], dtype=float).reshape(-1, 2)
    difference = np.log1p(lengths[:, 0]) - np.log1p(lengths[:, 1])
    votes = np.array([bet.value for bet in voted])
    if len(voted) < 10 or difference.std() == 0 or votes.std() == 0:
        return None
    inputs = np.stack([np.ones(len(voted)), np.tanh(difference / difference.std())], axis=1)
    weights, penalty = np.zeros(2), np.diag([0.0, 1.0])
    for _ in range(_STEPS):
        rates = 1 / (1 + np.exp(-inputs @ weights))
        curvature = inputs.T * (rates * (1 - rates)) @ inputs + penalty
        weights = weights + np.linalg.solve(curvature, inputs.T @ (votes - rates) - penalty @ weights)
    scores = inputs * (votes - 1 / (1 + np.exp(-inputs @ weights)))[:, None]
    inverse = np.linalg.inv(curvature)
    error = float(np.sqrt((inverse @ (scores.T @ scores) @ inverse)[0, 0]))
    ends = (float(weights[0]) + 1.96 * side * error for side in (-1, 1))
    return {
        "win_rate": float(1 / (1 + np.exp(-weights[0]))),
        "interval": [float(1 / (1 + np.exp(-end))) for end in ends],
        "slope": float(weights[1]),
    }


def agreement(bets: Sequence[Bet]) -> Row | None:
    """Krippendorff's alpha of the judges of shared prompts, as in the quality report; None if no prompt has two."""
    from labeling_ui.quality.agreement import Said, krippendorff

    said = {(str(at),): {vote.annotator: vote.said for vote in bet.votes} for at, bet in enumerate(bets)}
    shared: Said = {unit: given for unit, given in said.items() if len(given) > 1}
    return asdict(krippendorff(shared)) if shared else None


def automatic_judges(bets: Sequence[Bet]) -> Row:
    """Each automatic judge, by name, on the prompts that it judged of those that people did."""
    names = dict.fromkeys(name for bet in bets if bet.votes for name in bet.pair["scores"])
    return {name: _judge(name, [bet for bet in bets if bet.votes and name in bet.pair["scores"]]) for name in names}


def _judge(name: str, bets: Sequence[Bet]) -> Row:
    """Its win rate, and how often it agrees with people where these prefer one; scoring both alike agrees by half."""
    candidate, champion = ([bet.pair["scores"][name][who] for bet in bets] for who in (CANDIDATE, CHAMPION))
    rate, gains = win_rate(candidate, champion, range(len(bets))), np.sign(np.subtract(candidate, champion))
    preferred = np.sign([bet.value - 0.5 for bet in bets])
    agreed = (1 + gains * preferred)[preferred != 0] / 2
    return {
        "win_rate": rate["win_rate"],
        "interval": [rate["low"], rate["high"]],
        "prompts": rate["n"],
        "agreement": _rate(agreed.tolist(), "share") | {"prompts": len(agreed)} if len(agreed) else None,
    }


def _rate(values: Sequence[float], name: str = "win_rate") -> dict[str, Any]:
    low, high = clustered_share_interval(np.array(values), range(len(values)))
    return {name: float(np.mean(values)), "interval": [low, high]}


def _words(bet: Bet) -> tuple[int, int]:
    return len(bet.pair[CANDIDATE].split()), len(bet.pair[CHAMPION].split())
