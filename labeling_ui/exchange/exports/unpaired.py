"""Single responses with a label: {"prompt", "completion", "label", "weight", "p_label", ...}, for KTO."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from foundation.files import Row
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Judgement, Task
from labeling_ui.exchange.exports.messages import prompt_messages, reply_messages
from labeling_ui.exchange.weighted_votes import SAME, VotedLabels, votes_of


def unpaired_rows(labels: VotedLabels) -> list[Row]:
    """Each response that more people, with more weight, find good than bad, or bad than good.

    Good is the better of two, bad the worse; both are bad if an annotator says so. A rating is good above the middle
    of the scale (the mean over its aspects), and bad below it.
    """
    credit: dict[str, list[tuple[float, str]]] = defaultdict(list)
    decided: set[str] = set()
    for task in labels.tasks:
        for (one, other), votes in votes_of(labels, task).items():
            for vote in votes:
                if vote.winner is not None:
                    loser = other if vote.winner == one else one
                    credit[vote.winner].append((vote.weight, vote.annotator_id))
                    credit[loser].append((-vote.weight, vote.annotator_id))
        for judgement in labels.judgements.get(task.id, ()):
            decided |= set(task.candidates) if judgement.action == "adjudicate" else set()
            weight = labels.weight(task, judgement)
            for candidate, sign in _signs(judgement, task, labels.campaign_of(task)):
                credit[candidate].append((sign * weight, judgement.annotator_id))
    rows = []
    for candidate_id, given in sorted(credit.items()):
        balance, weight = math.fsum(sign for sign, _ in given), math.fsum(abs(sign) for sign, _ in given)
        if abs(balance) < SAME or _people(given) * balance <= 0:
            continue
        response, annotators = labels.candidates[candidate_id], sorted({annotator_id for _, annotator_id in given})
        rows.append(
            {
                "prompt": prompt_messages(labels, response.prompt_id),
                "completion": reply_messages(response.response),
                "label": balance > 0,
                "weight": round(weight, 6),
                "p_label": (1 + abs(balance) / weight) / 2,
                "ids": {"prompt": response.prompt_id, "completion": candidate_id},
                "annotators": annotators,
                "adjudicated": candidate_id in decided,
                "simulated": any(labels.simulated[annotator_id] for annotator_id in annotators),
            }
        )
    return rows


def _people(given: Sequence[tuple[float, str]]) -> int:
    """How many more people find a response good than bad."""
    said: dict[str, float] = defaultdict(float)
    for credit, annotator_id in given:
        said[annotator_id] += credit
    return sum((credit > SAME) - (credit < -SAME) for credit in said.values())


def _signs(judgement: Judgement, task: Task, campaign: Campaign) -> Iterator[tuple[str, int]]:
    if judgement.answer.verdict == "both_bad":
        yield from ((candidate, -1) for candidate in task.candidates)
    elif judgement.answer.verdict == "rated":
        for candidate in task.candidates:
            scores = [given[candidate] for given in judgement.answer.ratings.values() if candidate in given]
            above = sum(scores) / len(scores) - (campaign.scale + 1) / 2 if scores else 0
            if above:
                yield candidate, 1 if above > 0 else -1
