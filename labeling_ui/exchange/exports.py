"""Judgements as datasets that TRL reads as they are: rows for a file, or for the Hugging Face hub.

    preferences  {"prompt", "chosen", "rejected", "weight", "p_chosen", "p_tie", "margin"?, ...}, and of
                 rankings and rewrites
    rankings     the same rows, of rankings alone
    ties         the same rows, where neither response is preferred: which is called chosen means nothing
    orders       {"prompt", "responses", "ranks", "weight", "annotator", ...}: whole rankings, 1 the best
    unpaired     {"prompt", "completion", "label", "weight", ...}
    prompts      {"id", "prompt", "references"?}
    ratings      {"prompt", "response", "aspect", "score", "scale", "annotator", ...}

What counts as a vote, and for how much, is in `voting.py`. Annotators' names are left out: rows carry their ids.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.campaigns.campaign import Campaign
from labeling_ui.exchange.votes import SAME, Labels, Vote, majority, read_labels, total, votes_of
from labeling_ui.records import Candidate, Judgement, Task
from labeling_ui.store.store import Store

_SMALLEST_MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class PreferenceSet:
    """Preference rows, and how many judged pairs gave none: no majority, both bad, or only skipped."""

    rows: list[Row]
    ties: int
    both_bad: int
    skipped: int


def export(store: Store, kind: str, campaign: str | None = None) -> list[Row]:
    """The rows of one kind, of one campaign or of all; each row has the same fields."""
    if kind not in KINDS:
        raise UserError(f'there is no export "{kind}": expected one of {", ".join(KINDS)}.')
    return KINDS[kind](read_labels(store, campaign))


def preferences(store: Store, campaign: str | None = None) -> PreferenceSet:
    """One row for each two responses of which a weighted majority prefers one, and one for each rewrite.

    Over the votes on the two, with weights w: `weight` = sum of w, and `p_chosen` = (sum of w of those for the chosen
    response + half of that of ties) / `weight`; `p_tie` is the share of ties. `margin`, in (0, 1], is there where
    strengths were given: the weighted mean of strength/3 over the votes that have one, negative where they went the
    other way, and 0 in rows without any.
    """
    labels = read_labels(store, campaign)
    rows, without = _preferences(labels)
    return PreferenceSet(_with_margins(rows), without["tie"], without["both_bad"], without["skip"])


def beyond_preferences(store: Store, campaign: str | None = None) -> list[Row]:
    """What a reward model can learn from and a preference row cannot say: ties, whole rankings, ratings.

    Ties within rankings are left to these.
    """
    labels = read_labels(store, campaign)
    ties = [row for row in _ties(labels) if row["origin"] != "ranking"]
    return [*ties, *_orders(labels), *_ratings(labels)]


def push_to_hub(rows: Sequence[Row], name: str, *, private: bool = True) -> None:
    """Publish the rows as a dataset on the Hugging Face hub; private unless said otherwise."""
    from datasets import Dataset

    if not rows:
        raise UserError(f"there are no rows of this kind: nothing was pushed to {name}.")
    try:
        Dataset.from_list(list(rows)).push_to_hub(name, private=private)
    except (OSError, ValueError) as error:  # what the hub's client raises derives from these
        raise UserError(
            f"could not push to {name}: {str(error).strip() or type(error).__name__}\nNeeded are a name such as "
            "someone/dataset, a network, and a token that may write: `hf auth login`, or HF_TOKEN in the environment."
        ) from error


def _preferences(labels: Labels) -> tuple[list[Row], Counter[str]]:
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
    """TRL takes a margin from every row or from none: 0 where no strength is known."""
    known = any("margin" in row for row in rows)
    return [{**row, "margin": row.get("margin", 0.0)} for row in rows] if known else rows


def _pair(labels: Labels, task: Task, chosen: str, rejected: str, votes: Sequence[Vote]) -> Row:
    weight = total(votes)
    won = total(vote for vote in votes if vote.winner == chosen)
    tied = total(vote for vote in votes if vote.winner is None)
    votes = sorted(votes, key=lambda vote: vote.annotator_id)
    annotators = [vote.annotator_id for vote in votes]
    row = {
        "prompt": _messages(labels, task),
        "chosen": _reply(labels.candidates[chosen].response),
        "rejected": _reply(labels.candidates[rejected].response),
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


def _rewrites(labels: Labels, task: Task) -> Iterator[Row]:
    """A rewrite of the better response is preferred to it, by the one who wrote it."""
    for judgement in labels.judgements.get(task.id, ()):
        better, text = _better(judgement, task), judgement.answer.rewrite
        if better is None or not text.strip() or text.strip() == labels.candidates[better].response.strip():
            continue
        yield {
            "prompt": _messages(labels, task),
            "chosen": _reply(text),
            "rejected": _reply(labels.candidates[better].response),
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


def _round(labels: Labels, *candidates: str) -> int | None:
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


def _rankings(labels: Labels) -> list[Row]:
    return _with_margins([row for row in _preferences(labels)[0] if row["origin"] == "ranking"])


def _ties(labels: Labels) -> list[Row]:
    rows = []
    for task in labels.tasks:
        for (one, other), votes in votes_of(labels, task).items():
            if total(votes) > 0 and majority(votes, one, other) is None:
                row = _pair(labels, task, one, other, votes)
                row.pop("margin", None)
                rows.append(row)
    return rows


def _orders(labels: Labels) -> list[Row]:
    return [
        {
            "prompt": _messages(labels, task),
            "responses": [labels.candidates[each].response for group in judgement.answer.ranking for each in group],
            "ranks": [place for place, group in enumerate(judgement.answer.ranking, start=1) for _ in group],
            "weight": round(labels.weight(task, judgement), 6),
            "annotator": judgement.annotator_id,
            "ids": {
                "prompt": task.prompt_id,
                "responses": [each for group in judgement.answer.ranking for each in group],
            },
            "simulated": labels.simulated[judgement.annotator_id],
        }
        for task in labels.tasks
        for judgement in labels.judgements.get(task.id, ())
        if judgement.answer.verdict == "ranked" and len(judgement.answer.ranking) > 1
    ]


def _unpaired(labels: Labels) -> list[Row]:
    """Each response that a weighted majority finds good, or bad.

    Good is the better of two, bad the worse; both are bad where an annotator says so. A rating is good above the middle
    of the scale (the mean over its aspects), and bad below it.
    """
    credit: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for task in labels.tasks:
        for (one, other), votes in votes_of(labels, task).items():
            for vote in votes:
                if vote.winner is not None:
                    loser = other if vote.winner == one else one
                    credit[vote.winner].append((vote.weight, vote.annotator_id))
                    credit[loser].append((-vote.weight, vote.annotator_id))
        for judgement in labels.judgements.get(task.id, ()):
            weight = labels.weight(task, judgement)
            for candidate, sign in _signs(judgement, task, labels.campaigns[task.campaign]):
                credit[candidate].append((sign * weight, judgement.annotator_id))
    rows = []
    for candidate_id, given in sorted(credit.items()):
        balance, weight = math.fsum(sign for sign, _ in given), math.fsum(abs(sign) for sign, _ in given)
        if abs(balance) < SAME:
            continue
        response, annotators = labels.candidates[candidate_id], sorted({annotator_id for _, annotator_id in given})
        rows.append(
            {
                "prompt": [dict(message) for message in labels.prompts[response.prompt_id].messages],
                "completion": _reply(response.response),
                "label": balance > 0,
                "weight": round(weight, 6),
                "p_label": (1 + abs(balance) / weight) / 2,
                "ids": {"prompt": response.prompt_id, "completion": candidate_id},
                "annotators": annotators,
                "simulated": any(labels.simulated[annotator_id] for annotator_id in annotators),
            }
        )
    return rows


def _signs(judgement: Judgement, task: Task, campaign: Campaign) -> Iterator[tuple[str, int]]:
    if judgement.answer.verdict == "both_bad":
        yield from ((candidate, -1) for candidate in task.candidates)
    elif judgement.answer.verdict == "rated":
        for candidate in task.candidates:
            scores = [given[candidate] for given in judgement.answer.ratings.values() if candidate in given]
            above = sum(scores) / len(scores) - (campaign.scale + 1) / 2 if scores else 0
            if above:
                yield candidate, 1 if above > 0 else -1


def _prompts(labels: Labels) -> list[Row]:
    found = [labels.prompts[prompt_id] for prompt_id in labels.asked]
    rows: list[Row] = [{"id": each.id, "prompt": [dict(said) for said in each.messages]} for each in found]
    if any(each.references for each in found):
        rows = [row | {"references": list(each.references)} for row, each in zip(rows, found, strict=True)]
    return rows


def _ratings(labels: Labels) -> list[Row]:
    return [
        {
            "prompt": _messages(labels, task),
            "response": labels.candidates[candidate].response,
            "aspect": aspect,
            "score": score,
            "scale": labels.campaigns[task.campaign].scale,
            "annotator": judgement.annotator_id,
            "weight": round(labels.weight(task, judgement), 6),
            "ids": {"prompt": task.prompt_id, "response": candidate},
            "simulated": labels.simulated[judgement.annotator_id],
        }
        for task in labels.tasks
        for judgement in labels.judgements.get(task.id, ())
        for aspect, given in judgement.answer.ratings.items()
        for candidate, score in given.items()
    ]


def _messages(labels: Labels, task: Task) -> list[dict[str, Any]]:
    return [dict(message) for message in labels.prompts[task.prompt_id].messages]


def _reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


KINDS: dict[str, Callable[[Labels], list[Row]]] = {
    "preferences": lambda labels: _with_margins(_preferences(labels)[0]),
    "rankings": _rankings,
    "ties": _ties,
    "orders": _orders,
    "unpaired": _unpaired,
    "prompts": _prompts,
    "ratings": _ratings,
}
