"""Preference rows of pairs, rankings and rewrites, and what becomes of ties:

    {"prompt", "chosen", "rejected", "weight", "p_chosen", "p_tie", "margin"?, ...}

In a preference row a tie counts half for either response. A pair of which neither response is preferred becomes a
row of the kind "ties"; which of the two is called chosen means nothing there. What counts as a vote, and for how much,
is in `weighted_votes.py`.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from foundation.files import Row
from labeling_ui.data_model import Candidate, Judgement, Task
from labeling_ui.exchange.exports.messages import prompt_messages, reply_messages
from labeling_ui.exchange.exports.rankings_and_ratings import ranking_rows, rating_rows
from labeling_ui.exchange.weighted_votes import Vote, VotedLabels, majority, read_votes, total, votes_of
from labeling_ui.store.store import Store

_SMALLEST_MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class PreferenceSet:
    """Preference rows, and how many judged pairs gave none: no majority, both bad, or only skipped."""

    rows: list[Row]
    ties: int
    both_bad: int
    skipped: int


def preferences(store: Store, campaign: str | None = None) -> PreferenceSet:
    """One row for each two responses of which a weighted majority prefers one, and one for each rewrite.

    Over the votes on the two, with weights w: `weight` = sum of w, and `p_chosen` = (sum of w of those for the chosen
    response + half of that of ties) / `weight`; `p_tie` is the share of ties. `margin`, in (0, 1], is there if
    strengths were given: the weighted mean of strength/3 over the votes that have one, negative where they went the
    other way, and 0 in rows without any.
    """
    labels = read_votes(store, campaign)
    rows, without = _preferences(labels)
    return PreferenceSet(_with_margins(rows), without["tie"], without["both_bad"], without["skip"])


def beyond_preferences(store: Store, campaign: str | None = None) -> list[Row]:
    """What a reward model can learn from and a preference row cannot say: ties, whole rankings, ratings.

    Ties within rankings are left to these.
    """
    labels = read_votes(store, campaign)
    ties = [row for row in tie_rows(labels) if row["origin"] != "ranking"]
    return [*ties, *ranking_rows(labels), *rating_rows(labels)]


def _preferences(labels: VotedLabels) -> tuple[list[Row], Counter[str]]:
    rows: list[Row] = []
    without: Counter[str] = Counter()
    for task in labels.tasks:
        judgements = labels.judgements.get(task.id, ())
        voted = votes_of(labels, task)
        for (one, other), votes in voted.items():
            chosen = majority(votes, one, other)
            if chosen is None:
                without["tie"] += 1
            else:
                rows.append(_pair(labels, task, chosen, other if chosen == one else one, votes))
        if not voted:
            without[_why_none(judgements)] += 1
        rows += _rewrites(labels, task)
    return rows, without


def _with_margins(rows: list[Row]) -> list[Row]:
    """TRL takes a margin from every row or from none: 0 if no strength is known."""
    known = any("margin" in row for row in rows)
    return [{**row, "margin": row.get("margin", 0.0)} for row in rows] if known else rows


def _pair(labels: VotedLabels, task: Task, chosen: str, rejected: str, votes: Sequence[Vote]) -> Row:
    weight = total(votes)
    won = total(vote for vote in votes if vote.winner == chosen)
    tied = total(vote for vote in votes if vote.winner is None)
    votes = sorted(votes, key=lambda vote: vote.annotator_id)
    annotators = [vote.annotator_id for vote in votes]
    row = {
        "prompt": prompt_messages(labels, task.prompt_id),
        "chosen": reply_messages(labels.candidates[chosen].response),
        "rejected": reply_messages(labels.candidates[rejected].response),
        "weight": round(weight, 6),
        "p_chosen": (won + tied / 2) / weight,
        "p_tie": tied / weight,
        "origin": "ranking" if labels.campaigns[task.campaign].kind == "ranking" else "pair",
        "ids": {"prompt": task.prompt_id, "chosen": chosen, "rejected": rejected},
        "annotators": annotators,
        "votes": [0.5 if vote.winner is None else float(vote.winner == chosen) for vote in votes],
        "chosen_left": [vote.on_left(chosen) for vote in votes],
        "round": _round(labels, chosen, rejected),
        "simulated": any(labels.simulated[annotator_id] for annotator_id in annotators),
    }
    signed = [(vote, vote.strength / 3 * (1 if vote.winner == chosen else -1)) for vote in votes if vote.strength]
    if signed:
        mean = math.fsum(vote.weight * value for vote, value in signed) / total(vote for vote, _ in signed)
        row["margin"] = round(min(1.0, max(_SMALLEST_MARGIN, mean)), 4)
    return row


def _rewrites(labels: VotedLabels, task: Task) -> Iterator[Row]:
    """A rewrite of the better response is preferred to it, by the one who wrote it."""
    for judgement in labels.judgements.get(task.id, ()):
        better, text = _better(judgement, task), judgement.answer.rewrite
        if better is None or not text.strip() or text.strip() == labels.candidates[better].response.strip():
            continue
        yield {
            "prompt": prompt_messages(labels, task.prompt_id),
            "chosen": reply_messages(text),
            "rejected": reply_messages(labels.candidates[better].response),
            "weight": round(labels.weight(task, judgement), 6),
            "p_chosen": 1.0,
            "p_tie": 0.0,
            "origin": "rewrite",
            "ids": {"prompt": task.prompt_id, "chosen": Candidate(task.prompt_id, text).id, "rejected": better},
            "annotators": [judgement.annotator_id],
            "votes": [1.0],
            "chosen_left": [None],
            "round": _round(labels, better),
            "simulated": labels.simulated[judgement.annotator_id],
        }


def _round(labels: VotedLabels, *candidates: str) -> int | None:
    """The latest round of the loop that made one of these responses."""
    known = [labels.candidates[each].source.get("round") for each in candidates]
    return max((each for each in known if isinstance(each, int)), default=None)


def _better(judgement: Judgement, task: Task) -> str | None:
    """The response that a rewrite is of: the one preferred, ranked first alone, or rated."""
    answer = judgement.answer
    if answer.verdict == "ranked":
        return answer.ranking[0][0] if len(answer.ranking[0]) == 1 else None
    return task.candidates[0] if answer.verdict == "rated" else answer.winner


def _why_none(judgements: Sequence[Judgement]) -> str:
    said = Counter(judgement.answer.verdict for judgement in judgements)
    return "both_bad" if said["both_bad"] else "skip" if said["skip"] else "unjudged"


def preference_rows(labels: VotedLabels) -> list[Row]:
    """All preference rows; see `preferences`."""
    return _with_margins(_preferences(labels)[0])


def rows_of_rankings(labels: VotedLabels) -> list[Row]:
    """The preference rows that come from rankings."""
    return _with_margins([row for row in _preferences(labels)[0] if row["origin"] == "ranking"])


def tie_rows(labels: VotedLabels) -> list[Row]:
    """One row for each two responses of which neither is preferred."""
    rows = []
    for task in labels.tasks:
        for (one, other), votes in votes_of(labels, task).items():
            if total(votes) > 0 and majority(votes, one, other) is None:
                row = _pair(labels, task, one, other, votes)
                row.pop("margin", None)
                rows.append(row)
    return rows
