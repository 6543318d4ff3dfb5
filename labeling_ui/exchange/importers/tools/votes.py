"""One person's answers to the questions of a record, as votes on its responses.

What each question is for is decided already (`questions.py`): here its answers are read, and an odd one refuses its own
vote.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from labeling_ui.data_model import Answer
from labeling_ui.exchange.importers.judged_items import Refused, brief, preferred
from labeling_ui.exchange.importers.tools.fields import place_by_letter, place_of, plain, rated
from labeling_ui.exchange.importers.tools.questions import BOTH_BAD, PREFERENCE, RANKING, RATING, RATIONALE, TIES, Said
from labeling_ui.exchange.importers.values import whole


def answer_of(
    given: Iterable[Said], names: Sequence[str], roles: Mapping[str, str], aspects: Sequence[str]
) -> Answer | None:
    """What somebody said of the responses of these names; None if nothing, `Refused` if that cannot be told."""
    answer: Answer | None = None
    ratings: dict[str, dict[str, int]] = {}
    why: list[str] = []
    for said in given:
        role = roles.get(said.question, "")
        if role == RATIONALE:
            why += [str(said.value)]
        elif role == RATING:
            _rate(ratings, said, names, aspects)
        elif role in (PREFERENCE, RANKING):
            if said.shape == "odd":
                raise Refused(str(said.value))
            found = _ranked(said, names) if said.shape == "order" else _preferred(said, names)
            if answer not in (None, found):
                raise Refused(f'"{said.question}" has two answers of one person, which differ')
            answer = found
    if ratings:
        answer = Answer("rated", ratings=ratings)
    return answer and replace(answer, rationale="\n\n".join(each for each in why if each.strip()))


def _preferred(said: Said, names: Sequence[str]) -> Answer:
    label = str(said.value)
    if said.shape == "label" and plain(label) in TIES:
        return Answer("tie")
    if said.shape == "label" and plain(label) in BOTH_BAD:
        return Answer("both_bad")
    place = place_of(label, names) if said.shape in ("label", "pair") else None
    if place is None and said.shape == "label":
        place = place_by_letter(label, names)
    if place is None:
        raise Refused(f"the answer {brief(label)} names none of the responses ({', '.join(names)})")
    if len(names) != 2:
        raise Refused(
            f'"{said.question}" names the best of {len(names)} responses, which is neither a pair nor a ranking'
        )
    return preferred(place)


def _ranked(said: Said, names: Sequence[str]) -> Answer:
    """The groups of equals, best first."""
    groups: list[list[str]] = []
    for equals in said.value:
        places = [place_of(label, names) for label in equals]
        if None in places:
            label = equals[places.index(None)]
            raise Refused(f"the ranking names {brief(label)}, which is none of the responses ({', '.join(names)})")
        groups.append([str(place) for place in places])
    placed = [place for group in groups for place in group]
    if len(placed) < 2 or len(set(placed)) < len(placed):
        raise Refused("the ranking does not order two different responses")
    return Answer("ranked", ranking=tuple(map(tuple, groups)))


def _rate(ratings: dict[str, dict[str, int]], said: Said, names: Sequence[str], aspects: Sequence[str]) -> None:
    found = rated(said.question, names, said.about)
    if found is None or found[0] not in aspects:
        return
    aspect, place = found
    score = whole(said.value, "the rating")
    if ratings.setdefault(aspect, {}).setdefault(str(place), score) != score:
        raise Refused(f'"{said.question}" has two answers of one person, which differ')


def said_of(question: str, value: Any) -> Said | None:
    """A value whose question is not known, by its shape; None if nothing was answered."""
    if value is None or value == [] or value == "":
        return None
    if isinstance(value, bool):
        return Said(question, "other", value)
    if isinstance(value, int | float):
        return Said(question, "number", value)
    if isinstance(value, str):
        return Said(question, "label", value)
    order = _order(value)
    return Said(question, "other", value) if order is None else Said(question, "order", order)


def _order(value: Any) -> list[list[str]] | None:
    """Names by rank, equals together: `[{"value", "rank"}]`, `{"value": [], "rank": []}`, or names in order."""
    if isinstance(value, dict):
        names, ranks = value.get("value"), value.get("rank")
        if not isinstance(names, list) or not isinstance(ranks, list) or len(names) != len(ranks):
            return None
        value = [{"value": name, "rank": rank} for name, rank in zip(names, ranks, strict=True)]
    if not isinstance(value, list):
        return None
    if all(isinstance(entry, str) for entry in value):
        return [[entry] for entry in value]
    if not all(isinstance(entry, dict) and "value" in entry and "rank" in entry for entry in value):
        return None
    ranked: dict[float, list[str]] = {}
    for entry in value:  # one without a rank was left out of the ranking
        if isinstance(entry["rank"], int | float):
            ranked.setdefault(entry["rank"], []).append(str(entry["value"]))
    return [ranked[rank] for rank in sorted(ranked)]
