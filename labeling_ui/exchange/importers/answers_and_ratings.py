"""This project's own layouts: answers of every kind, and the rows of `ratings.jsonl`.

answers   {"prompt", "responses": [text, ...], "answer": {...}, "annotator"?, "references"?}, where the answer names
          responses by their place, counted from 0: {"verdict": "preferred", "winner": 1, "strength": 2},
          {"verdict": "tie"}, {"verdict": "both_bad"}, {"verdict": "ranked", "ranking": [[1], [0, 2]]},
          {"verdict": "rated", "ratings": {"helpful": [5]}, "scale"?}, {"verdict": "skip"}; with a rationale if there
          is one. Ratings are on the campaign's scale.
ratings   {"prompt", "response", "score", "scale", "annotator"?, "aspect"?, "rationale"?}; the scale may be given for
          the whole file instead
"""

from typing import Any

from foundation.files import Row
from labeling_ui.data_model import STRENGTHS, Answer
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote, brief
from labeling_ui.exchange.importers.layout import Format, Layout, mapped
from labeling_ui.exchange.importers.messages import prompt_of, reply_of
from labeling_ui.exchange.importers.trl import overall_aspect
from labeling_ui.exchange.importers.values import flag, given, listed, whole


def answers(row: Row, layout: Layout) -> Parsed:
    """One annotator's answer, or the known answer of a gold item."""
    if is_exported(row):
        raise Refused("it is a row of an answers export among others: import the export as a file of its own")
    row = mapped(row, layout.wishes.columns)
    responses = listed(row, "responses")
    if not responses or not all(isinstance(response, str) for response in responses):
        raise Refused('the field "responses" must be a list of texts')
    references = row.get("references") or []
    if not isinstance(references, list) or not all(isinstance(text, str) for text in references):
        raise Refused('the field "references" must be a list of texts')
    said = row.get("answer")
    if said is None:
        raise Refused('the field "answer" is missing: what nobody has judged is imported with --format responses')
    if not isinstance(said, dict):
        raise Refused(f'the field "answer" must be an object, found {type(said).__name__}')
    scale = said.get("scale", row.get("scale"))
    vote = Vote(
        layout.person(row.get("annotator")), _answer(said, len(responses)), bool(flag(row, "simulated")),
        scale=None if scale is None else whole(scale, "the scale"),
    )  # fmt: skip
    return [Item(prompt_of(given(row, "prompt")), tuple(responses), (vote,), tuple(references))]


def ratings(row: Row, layout: Layout) -> Parsed:
    """One score of one response; the scale runs from 1 to `scale`."""
    row = mapped(row, layout.wishes.columns)
    score = whole(given(row, "score"), "the score")
    scale = layout.wishes.scale if row.get("scale") is None else whole(row["scale"], "the scale")
    if scale is None:
        raise Refused('the field "scale" is missing: say how far the file\'s scale goes, as in --scale 5')
    if not 1 <= score <= scale:
        raise Refused(f"the score {score} is not on the scale from 1 to {scale}")
    aspect = str(row.get("aspect") or overall_aspect(layout.wishes.campaign))
    answer = Answer("rated", ratings={aspect: {"0": score}}, rationale=str(row.get("rationale") or ""))
    vote = Vote(layout.person(row.get("annotator")), answer, bool(flag(row, "simulated")), scale)
    prompt = prompt_of(given(row, "prompt"))
    return [Item(prompt, (reply_of(given(row, "response"), prompt),), (vote,))]


def is_exported(row: object) -> bool:
    """Whether it is a row of an answers export, of whatever layout, and not an answer written by hand."""
    return isinstance(row, dict) and type(row.get("answers")) is int and row["answers"] > 0


def _answer(said: Row, count: int) -> Answer:
    verdict, rationale = said.get("verdict"), str(said.get("rationale") or "")
    if verdict == "preferred":
        strength = said.get("strength")
        if strength is not None and (strength not in STRENGTHS or isinstance(strength, bool)):
            raise Refused(f"the strength {brief(strength)} is not 1, 2 or 3")
        return Answer(
            verdict, winner=_place(said.get("winner"), count), strength=strength and int(strength), rationale=rationale
        )
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
        rated = said.get("ratings")
        if not isinstance(rated, dict) or not all(isinstance(scores, list) for scores in rated.values()):
            raise Refused('the ratings are not a list of scores for each aspect, as in {"helpful": [5]}')
        ratings = {str(name): _scores(each, count) for name, each in rated.items()}
        return Answer(verdict, ratings=ratings, rationale=rationale)
    raise Refused(f"the verdict {str(verdict)[:40]!r} is none of preferred, tie, both_bad, ranked, rated, skip")


def _scores(scores: list[Any], count: int) -> dict[str, int]:
    if len(scores) != count:
        raise Refused(f"{len(scores)} scores for {count} responses: expected one whole number for each")
    return {str(place): whole(score, "the score") for place, score in enumerate(scores)}


def _place(place: Any, count: int) -> str:
    if isinstance(place, bool) or place not in range(count):  # 1.0 is 1
        raise Refused(f"the answer names response {brief(place)}, but there are {count}, counted from 0")
    return str(int(place))


ANSWERS = Format(answers, ("prompt", "responses", "answer", "references"), identity=("id",), people=("annotator",))
RATINGS = Format(
    ratings, ("prompt", "response", "score", "scale", "aspect", "rationale", "annotator"), people=("annotator",),
    aspects_apart=True,
)  # fmt: skip
