"""Pairs of which neither response is preferred: ties, and pairs that people split on.

Which of two equals is called chosen means nothing.
"""

from collections.abc import Iterator

from foundation.files import Row
from labeling_ui.exchange.exports.pair_row import pair_row
from labeling_ui.exchange.weighted_votes import BOTH_BAD, TIE, Decision, VotedLabels, decide, total, votes_of


def tie_rows(labels: VotedLabels) -> list[Row]:
    """One row for each two responses that are found equal."""
    return [row for row, decision in _rows(labels) if decision.decided and decision.said == TIE]


def soft_rows(labels: VotedLabels) -> list[Row]:
    """One row for each two responses that people split on, with the share of votes that each has."""
    return [row | {"decided": False} for row, decision in _rows(labels) if not decision.decided]


def _rows(labels: VotedLabels) -> Iterator[tuple[Row, Decision]]:
    """The rows of pairs that are not decided for one of the two, the one with more weight first."""
    for task in labels.tasks:
        for (one, other), votes in votes_of(labels, task).items():
            decision = decide(votes, one, other)
            if total(votes) > 0 and not (decision.decided and decision.said in (one, other, BOTH_BAD)):
                weights = [total(vote for vote in votes if vote.winner == each) for each in (one, other)]
                chosen, rejected = (one, other) if weights[0] >= weights[1] else (other, one)
                row = pair_row(labels, task, chosen, rejected, votes)
                row.pop("margin", None)
                yield row, decision
