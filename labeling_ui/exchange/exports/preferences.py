"""Preference rows of pairs, rankings and rewrites:

    {"prompt", "chosen", "rejected", "weight", "p_chosen", "p_tie", "margin"?, ...}

In a preference row a tie counts half for either response. A pair of which neither response is preferred becomes a row
in `ties.py`. What counts as a vote, and for how much, is in `weighted_votes.py`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from foundation.files import Row
from labeling_ui.data_model import Judgement
from labeling_ui.exchange.exports.pair_row import pair_row
from labeling_ui.exchange.exports.rankings_and_ratings import ranking_rows, rating_rows
from labeling_ui.exchange.exports.rewrites import rewrite_rows
from labeling_ui.exchange.exports.ties import tie_rows
from labeling_ui.exchange.weighted_votes import VotedLabels, majority, read_votes, votes_of
from labeling_ui.store.store import Store


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
                rows.append(pair_row(labels, task, chosen, other if chosen == one else one, votes))
        if not voted:
            without[_why_none(judgements)] += 1
        rows += rewrite_rows(labels, task)
    return rows, without


def _with_margins(rows: list[Row]) -> list[Row]:
    """TRL takes a margin from every row or from none: 0 if no strength is known."""
    known = any("margin" in row for row in rows)
    return [{**row, "margin": row.get("margin", 0.0)} for row in rows] if known else rows


def _why_none(judgements: Sequence[Judgement]) -> str:
    said = Counter(judgement.answer.verdict for judgement in judgements)
    return "both_bad" if said["both_bad"] else "skip" if said["skip"] else "unjudged"


def preference_rows(labels: VotedLabels) -> list[Row]:
    """All preference rows; see `preferences`."""
    return _with_margins(_preferences(labels)[0])


def rows_of_rankings(labels: VotedLabels) -> list[Row]:
    """The preference rows that come from rankings."""
    return _with_margins([row for row in _preferences(labels)[0] if row["origin"] == "ranking"])
