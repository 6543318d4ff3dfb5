"""How many annotators a pair needs: more only where the vote of those who judged it is in doubt."""

import math
from collections import defaultdict
from collections.abc import Sequence

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer

ASSUMED = 0.8
"""How often an annotator is right of whose skill nothing is known: as `quality/skill.py` and the exports take it."""
_SUREST = 0.999
_NEARLY = 1e-9


def vote_posterior(votes: Sequence[tuple[Answer, float]]) -> float:
    """The probability of the likeliest outcome, given answers to one pair and how often each annotator is right.

    An outcome is one of the two responses, or a tie or "both bad" if anybody said so. All are equally likely at first,
    and a vote is logit(accuracy) of evidence for what it says; one of somebody who is wrong more often than right is
    none. One half without votes.
    """
    evidence: dict[str, float] = defaultdict(float)
    for answer, accuracy in votes:
        sure = min(accuracy, _SUREST)
        evidence[answer.winner or answer.verdict] += max(0.0, math.log(sure / (1 - sure)) if sure > 0 else 0.0)
    named = {answer.winner for answer, _ in votes if answer.winner}
    unnamed = 2 - len(named)
    top = max(evidence.values(), default=0.0)
    rest = math.fsum(math.exp(value - top) for value in evidence.values()) + unnamed * math.exp(-top)
    return 1 / rest


def overlap_wanted(campaign: Campaign, first_overlap: int, votes: Sequence[tuple[Answer, float]]) -> int:
    """How many annotators are to judge a pair on which these have voted; skips are no votes.

    `first_overlap` of them in any case; then one more at a time while the vote is in doubt, up to the campaign's
    `max_overlap`.
    """
    if campaign.max_overlap is None or len(votes) < first_overlap:
        return first_overlap
    doubtful = vote_posterior(votes) < campaign.confidence - _NEARLY
    return max(first_overlap, min(len(votes) + doubtful, campaign.max_overlap))
