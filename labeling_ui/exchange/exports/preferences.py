"""Preference rows of pairs, rankings and rewrites:

    {"prompt", "chosen", "rejected", "weight", "p_chosen", "p_tie", "p_both_bad", "posterior", "margin"?, ...}

Trainers read such a row as one preference, so only decided pairs become one. A pair of which neither response is
preferred, or that people split on, becomes a row in `ties.py`. What counts as a vote, for how much, and what decides,
is in `weighted_votes.py`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from foundation.files import Row
from labeling_ui.data_model import Judgement
from labeling_ui.exchange.exports.pair_row import pair_row
from labeling_ui.exchange.exports.rankings_and_ratings import ranking_rows, rating_rows
from labeling_ui.exchange.exports.rewrites import rewrite_rows
from labeling_ui.exchange.exports.ties import soft_rows, tie_rows
from labeling_ui.exchange.weighted_votes import BOTH_BAD, TIE, VotedLabels, decide, read_votes, votes_of
from labeling_ui.store.store import Store


@dataclass(frozen=True, slots=True)
class PreferenceSet:
    """Preference rows, and how many judged pairs gave none: equal, both bad, split on, or only skipped."""

    rows: list[Row]
    ties: int
    both_bad: int
    skipped: int
    split: int


def preferences(store: Store, campaign: str | None = None) -> PreferenceSet:
    """One row for each two responses of which the votes decide for one, and one for each rewrite.

    Over the votes on the two, with weights w: `weight` = sum of w, and `p_chosen` = (sum of w of those for the chosen
    response + half of that of ties and both bad) / `weight`; `p_tie` and `p_both_bad` are the shares of these;
    `posterior` is the probability that the chosen response is the better one. `margin`, in (0, 1], is there if
    strengths were given: the weighted mean of strength/3 over the votes that have one, negative where they went the
    other way, and 0 in rows without any.
    """
    labels = read_votes(store, campaign)
    rows, without = _preferences(labels)
    counts = (without[reason] for reason in (TIE, BOTH_BAD, "skip", "split"))
    return PreferenceSet(_with_margins(rows), *counts)


def beyond_preferences(store: Store, campaign: str | None = None) -> list[Row]:
    """What a reward model can learn from and a preference row cannot say: ties, soft pairs, whole rankings, ratings.

    Ties and splits within rankings are left to these.
    """
    labels = read_votes(store, campaign)
    pairs = [row for row in (*tie_rows(labels), *soft_rows(labels)) if row["origin"] != "ranking"]
    return [*pairs, *ranking_rows(labels), *(row for row in rating_rows(labels) if row["score"] is not None)]


def _preferences(labels: VotedLabels) -> tuple[list[Row], Counter[str]]:
    rows: list[Row] = []
    without: Counter[str] = Counter()
    for task in labels.tasks:
        judgements = labels.judgements.get(task.id, ())
        voted = votes_of(labels, task)
        for (one, other), votes in voted.items():
            decision = decide(votes, one, other)
            if not decision.decided:
                without["split"] += 1
            elif decision.said in (one, other):
                rejected = other if decision.said == one else one
                rows.append(pair_row(labels, task, decision.said, rejected, votes))
            else:
                without[decision.said] += 1
        if not voted:
            without[_why_none(judgements)] += 1
        rows += rewrite_rows(labels, task)
    return rows, without


def _with_margins(rows: list[Row]) -> list[Row]:
    """TRL takes a margin from every row or from none: 0 if no strength is known."""
    known = any("margin" in row for row in rows)
    return [{**row, "margin": row.get("margin", 0.0)} for row in rows] if known else rows


def _why_none(judgements: Sequence[Judgement]) -> str:
    return "skip" if any(judgement.answer.verdict == "skip" for judgement in judgements) else "unjudged"


def preference_rows(labels: VotedLabels) -> list[Row]:
    """All preference rows; see `preferences`."""
    return _with_margins(_preferences(labels)[0])


def rows_of_rankings(labels: VotedLabels) -> list[Row]:
    """The preference rows that come from rankings."""
    return _with_margins([row for row in _preferences(labels)[0] if row["origin"] == "ranking"])
