"""The form by which a reviewer decides a task, read as an answer."""

from collections.abc import Mapping

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Task

LONGEST_RATIONALE = 4000


def read_decision(form: Mapping[str, str], task: Task, campaign: Campaign) -> Answer:
    """The answer; `UserError` if something is missing. Responses are named by their place, from 0."""
    rationale = form.get("rationale", "").strip()
    if len(rationale) > LONGEST_RATIONALE:
        raise UserError(f"the reason has {len(rationale)} characters: up to {LONGEST_RATIONALE} can be kept.")
    if campaign.kind == "pairwise":
        return _pair(form.get("answer", ""), task, rationale)
    if campaign.kind == "ranking":
        return _ranking(form, task, rationale)
    return _rating(form, task, campaign, rationale)


def _rating(form: Mapping[str, str], task: Task, campaign: Campaign, rationale: str) -> Answer:
    ratings, without = {}, []
    for place, aspect in enumerate(campaign.aspects):
        given = {one: form.get(f"rating-{place}-{number}", "") for number, one in enumerate(task.candidates)}
        if campaign.not_applicable and set(given.values()) == {"none"}:
            without.append(aspect)
        else:
            ratings[aspect] = {one: _number(value, campaign.scale) for one, value in given.items()}
    return Answer("rated", ratings=ratings, not_applicable=tuple(without), rationale=rationale)


def _pair(said: str, task: Task, rationale: str) -> Answer:
    if said == "tie":
        return Answer("tie", rationale=rationale)
    if said == "both_bad":
        return Answer("both_bad", rationale=rationale)
    place, _, strength = said.partition("-")
    if place not in ("0", "1") or strength not in ("1", "2", "3"):
        raise UserError("nothing was chosen: say which response is better, or that none is.")
    return Answer("preferred", task.candidates[int(place)], int(strength), rationale=rationale)


def _ranking(form: Mapping[str, str], task: Task, rationale: str) -> Answer:
    places: dict[int, list[str]] = {}
    for number, one in enumerate(task.candidates):
        given = form.get(f"place-{number}", "")
        if given:
            places.setdefault(_number(given, len(task.candidates)), []).append(one)
    if sum(map(len, places.values())) < 2:
        raise UserError("give two responses or more a place.")
    return Answer("ranked", ranking=tuple(tuple(places[place]) for place in sorted(places)), rationale=rationale)


def _number(given: str, most: int) -> int:
    if not given.isascii() or not given.isdigit() or len(given) > 3 or not 1 <= int(given) <= most:
        raise UserError(f"every part of the form needs a number from 1 to {most}.")
    return int(given)
