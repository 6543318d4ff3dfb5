"""This project's own layouts: answers of every kind, and the rows of `ratings.jsonl`.

answers   {"prompt", "responses": [text, ...], "answer": {...}, "annotator"?, "references"?}, where the answer names
          responses by their place, counted from 0: {"verdict": "preferred", "winner": 1, "strength": 2},
          {"verdict": "tie"}, {"verdict": "both_bad"}, {"verdict": "ranked", "ranking": [[1], [0, 2]]},
          {"verdict": "rated", "ratings": {"helpful": [5]}}, {"verdict": "skip"}; with a rationale if there is one
ratings   {"prompt", "response", "score", "scale", "annotator", "aspect"?}
"""

from collections.abc import Iterable
from typing import Any

from foundation.errors import UserError
from foundation.files import Row
from labeling_ui.data_model import STRENGTHS, Answer, Message
from labeling_ui.exchange.importers.judged_items import Format, Item, Refused, Vote, asked, tidy, value


def answers(row: Row, where: str) -> Iterable[Item]:
    """One annotator's answer, or the known answer of a gold item."""
    responses = value(row, "responses", list, where)
    if not responses or not all(isinstance(response, str) for response in responses):
        raise UserError(f'{where}: the field "responses" must be a list of texts.')
    annotator = str(row.get("annotator") or "answers (imported)")
    references = row.get("references") or []
    if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
        raise UserError(f'{where}: the field "references" must be a list of texts.')
    vote = Vote(annotator, _answer(value(row, "answer", dict, where), len(responses)), row.get("simulated") is True)
    return [Item(_prompt(row, where), tuple(responses), (vote,), tuple(references))]


def ratings(row: Row, where: str) -> Iterable[Item]:
    """One score of one response; the scale runs from 1 to `scale`."""
    score, scale = row.get("score"), row.get("scale")
    if type(score) is not int or type(scale) is not int:
        raise UserError(f'{where}: the fields "score" and "scale" must be whole numbers.')
    if not 1 <= score <= scale:
        raise Refused(f"the score {score} is not on the scale from 1 to {scale}")
    response = row.get("response")
    if not isinstance(response, str):
        raise UserError(f'{where}: the field "response" must be a string.')
    answer = Answer("rated", ratings={str(row.get("aspect") or "helpful"): {"0": score}})
    vote = Vote(str(row.get("annotator") or "ratings (imported)"), answer, row.get("simulated") is True)
    return [Item(_prompt(row, where), (response,), (vote,))]


def _prompt(row: Row, where: str) -> tuple[Message, ...]:
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        return asked(prompt)
    return tidy(value(row, "prompt", list, where))


def _answer(said: Row, count: int) -> Answer:
    verdict, rationale = said.get("verdict"), str(said.get("rationale") or "")
    if verdict == "preferred":
        strength = said.get("strength")
        if strength is not None and (type(strength) is not int or strength not in STRENGTHS):
            raise Refused(f"the strength {strength!r} is not 1, 2 or 3")
        return Answer(verdict, winner=_place(said.get("winner"), count), strength=strength, rationale=rationale)
    if verdict == "tie" or verdict == "both_bad":
        return Answer(verdict, rationale=rationale)
    if verdict == "skip":
        return Answer(verdict, reason=str(said.get("reason") or ""), rationale=rationale)
    if verdict == "ranked":
        groups = said.get("ranking")
        if not isinstance(groups, list) or not all(isinstance(group, list) and group for group in groups):
            raise Refused("the ranking is not a list of groups, best first, as in [[1], [0, 2]]")
        return Answer(
            verdict, ranking=tuple(tuple(_place(place, count) for place in group) for group in groups),
            rationale=rationale,
        )  # fmt: skip
    if verdict == "rated":
        given = said.get("ratings")
        if not isinstance(given, dict) or not all(isinstance(scores, list) for scores in given.values()):
            raise Refused('the ratings are not a list of scores for each aspect, as in {"helpful": [5]}')
        return Answer(verdict, ratings={str(name): _scores(each, count) for name, each in given.items()})
    raise Refused(f"the verdict {str(verdict)[:40]!r} is none of preferred, tie, both_bad, ranked, rated, skip")


def _scores(scores: list[Any], count: int) -> dict[str, int]:
    if len(scores) != count or any(type(score) is not int for score in scores):
        raise Refused(f"{len(scores)} scores for {count} responses: expected one whole number for each")
    return {str(place): score for place, score in enumerate(scores)}


def _place(place: object, count: int) -> str:
    if type(place) is not int or not 0 <= place < count:
        raise Refused(f"the answer names response {place!r}, but there are {count}, counted from 0")
    return str(place)


ANSWERS = Format(answers, ("id",))
RATINGS = Format(ratings)
