"""Ties: rows of two responses of which neither is preferred. Which of the two is called chosen means nothing."""

from foundation.files import Row
from labeling_ui.exchange.exports.pair_row import pair_row
from labeling_ui.exchange.weighted_votes import VotedLabels, majority, total, votes_of


def tie_rows(labels: VotedLabels) -> list[Row]:
    """One row for each two responses of which neither is preferred."""
    rows = []
    for task in labels.tasks:
        for (one, other), votes in votes_of(labels, task).items():
            if total(votes) > 0 and majority(votes, one, other) is None:
                row = pair_row(labels, task, one, other, votes)
                row.pop("margin", None)
                rows.append(row)
    return rows
