"""The row of two responses and the votes on them, which preferences, ties and soft pairs share."""

import math
from collections.abc import Sequence

from foundation.files import Row
from labeling_ui.data_model import Task
from labeling_ui.exchange.exports.messages import prompt_messages, reply_messages
from labeling_ui.exchange.weighted_votes import BOTH_BAD, TIE, Vote, VotedLabels, decide, total

_SMALLEST_MARGIN = 0.01


def pair_row(labels: VotedLabels, task: Task, chosen: str, rejected: str, votes: Sequence[Vote]) -> Row:
    """The row; `preferences.preferences` says what its fields mean."""
    weight = total(votes)
    won = total(vote for vote in votes if vote.winner == chosen)
    tied, bad = (total(vote for vote in votes if vote.said == said) for said in (TIE, BOTH_BAD))
    votes = sorted(votes, key=lambda vote: vote.annotator_id)
    annotators = [vote.annotator_id for vote in votes]
    row = {
        "prompt": prompt_messages(labels, task.prompt_id),
        "chosen": reply_messages(labels.candidates[chosen].response),
        "rejected": reply_messages(labels.candidates[rejected].response),
        "weight": round(weight, 6),
        "p_chosen": (won + (tied + bad) / 2) / weight,
        "p_tie": tied / weight,
        "p_both_bad": bad / weight,
        "posterior": round(decide(votes, chosen, rejected).probability, 6),
        "origin": "ranking" if labels.campaign_of(task).kind == "ranking" else "pair",
        "ids": {"prompt": task.prompt_id, "chosen": chosen, "rejected": rejected},
        "annotators": annotators,
        "votes": [0.5 if vote.winner is None else float(vote.winner == chosen) for vote in votes],
        "chosen_left": [vote.on_left(chosen) for vote in votes],
        "round": latest_round(labels, chosen, rejected),
        "adjudicated": any(vote.decides for vote in votes),
        "simulated": any(labels.simulated[annotator_id] for annotator_id in annotators),
    }
    counted = [vote for vote in votes if vote.strength and vote.weight > 0]
    signed = [(vote, (vote.strength or 0) / 3 * (1 if vote.winner == chosen else -1)) for vote in counted]
    if signed:
        mean = math.fsum(vote.weight * value for vote, value in signed) / total(counted)
        row["margin"] = round(min(1.0, max(_SMALLEST_MARGIN, mean)), 4)
    return row


def latest_round(labels: VotedLabels, *candidates: str) -> int | None:
    """The latest round of the loop that made one of these responses."""
    known = [labels.candidates[each].source.get("round") for each in candidates]
    return max((each for each in known if isinstance(each, int)), default=None)
