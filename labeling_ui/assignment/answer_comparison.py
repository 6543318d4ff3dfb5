"""What an answer says, in terms that can be compared: categories, orders of two responses, points.

Everything is told by candidate id; where a response was shown plays no part. A skip says nothing.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Task

Unit = tuple[str, ...]
Category = str | int
Order = Literal[-1, 0, 1]
MOST_COMPARED = 12
_LONG = 5  # from this scale on, ratings that are one point apart are the same opinion


def pair_orders(answer: Answer, task: Task) -> dict[Unit, Order]:
    """Of each two responses that the answer compares, which is better: 1 the first (by id), -1 the second, 0 neither.

    Keyed by (task id, first, second); a repeat is keyed by the task that it repeats.
    """
    name = task.repeat_of or task.id
    if answer.verdict == "ranked":
        place = {candidate: group for group, equals in enumerate(answer.ranking) for candidate in equals}
        pairs = combinations(sorted(place), 2)
        return {(name, one, other): _sign(place[other] - place[one]) for one, other in pairs}
    if answer.verdict == "tie":
        return {(name, *task.candidates): 0}
    if answer.verdict == "preferred" and len(task.candidates) == 2:
        return {(name, *task.candidates): 1 if answer.winner == task.candidates[0] else -1}
    return {}


def categories(answer: Answer, task: Task, campaign: Campaign) -> Iterable[tuple[str, Unit, Category]]:
    """`(scale, unit, category)` of all that the answer says; each scale has an agreement of its own.

    "winner" (nominal: the first, the second, tie or both bad), "strength" (ordinal, -3 to 3; a tie is 0), "ranking"
    (nominal, for each two responses), and each rated aspect with the scale of its time (ordinal): "helpful (1 to 7)".
    `campaign` is what was asked of the task, in its version.
    """
    if answer.verdict == "ranked":
        for unit, better in pair_orders(answer, task).items():
            yield "ranking", unit, better
    elif answer.verdict == "rated":
        for aspect, points in answer.ratings.items():
            for candidate, point in points.items():
                yield f"{aspect} (1 to {campaign.scale})", (task.id, candidate), point
    elif answer.verdict != "skip":
        pair = list(pair_orders(answer, task).values())
        order = pair[0] if pair else None
        yield "winner", (task.id,), "both bad" if order is None else ("second", "tie", "first")[order + 1]
        if order == 0:
            yield "strength", (task.id,), 0
        elif order is not None and answer.strength is not None:
            yield "strength", (task.id,), order * answer.strength


def similarity(one: Answer, other: Answer, task: Task, scale: int) -> float | None:
    """How far two answers to a task agree, from 0 to 1; None if one of them is a skip or they share nothing.

    Of a pair: the same winner, tie or both bad. Of a ranking: the share of pairs in the same order. Of ratings: the
    share that lie at most one point apart; that are equal, on a `scale` of less than five points, where one point is
    more than a quarter of it.
    """
    if "skip" in (one.verdict, other.verdict):
        return None
    if one.verdict == other.verdict == "rated":
        close = 1 if scale >= _LONG else 0
        near = [
            abs(point - other.ratings[aspect][candidate]) <= close
            for aspect, points in one.ratings.items()
            for candidate, point in points.items()
            if candidate in other.ratings.get(aspect, {})
        ]
        return sum(near) / len(near) if near else None
    if one.verdict == other.verdict == "ranked":
        first, second = pair_orders(one, task), pair_orders(other, task)
        shared = first.keys() & second.keys()
        return sum(first[unit] == second[unit] for unit in shared) / len(shared) if shared else None
    return float((one.verdict, one.winner) == (other.verdict, other.winner))


def disagreement(answers: Sequence[Answer], task: Task, scale: int) -> float:
    """How far answers to a task are from one another: 1 less the mean similarity of each two; 0 for fewer than two.

    Of very many answers (a task with a known answer goes to everybody), the last `MOST_COMPARED` are compared.
    """
    pairs = combinations(answers[-MOST_COMPARED:], 2)
    alike = [found for one, other in pairs if (found := similarity(one, other, task, scale)) is not None]
    return 1 - sum(alike) / len(alike) if alike else 0.0


def _sign(number: int) -> Order:
    return 1 if number > 0 else -1 if number < 0 else 0
