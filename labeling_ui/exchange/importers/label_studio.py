"""Label Studio's JSON export: tasks with `data` and several annotators' `annotations`.

Read are the results of Pairwise, Choices, Ranker, Rating and Number, and TextArea as the rationale. A cancelled
annotation is a skip. Predictions are models' guesses and are never read. Annotators keep their number in Label Studio;
names and e-mail addresses are not taken over. The JSON-MIN and CSV exports do not say who judged what, and are refused.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from foundation.files import Row
from labeling_ui.data_model import Answer
from labeling_ui.exchange.importers import field_mapping
from labeling_ui.exchange.importers.argilla import kind_of
from labeling_ui.exchange.importers.judged_items import Format, Item, Refused, Vote, value

_TEXTS = ("text", "body", "html", "title")


def label_studio(row: Row, where: str) -> Iterable[Item]:
    """One task, as an item for each kind of judgement that was given on it."""
    data, annotations = value(row, "data", dict, where), value(row, "annotations", list, where)
    judged = [each for each in annotations if isinstance(each, dict)]
    if not judged:
        raise Refused("nobody has annotated it")
    prompt, responses = field_mapping.conversation(data), _responses(data)
    votes: dict[str, list[Vote]] = defaultdict(list)
    skips: list[Vote] = []
    for annotation in judged:
        name = f"labelstudio {_annotator(annotation)}"
        if annotation.get("was_cancelled"):
            skips.append(Vote(name, Answer("skip", reason="cancelled in Label Studio")))
            continue
        for answer in field_mapping.answers(_said(annotation, list(responses)), list(responses)):
            votes[kind_of(answer)].append(Vote(name, answer))
    if not votes and not skips:
        raise Refused("its annotations say nothing of the responses")
    for skip in skips:
        votes[next(iter(votes), "skip")].append(skip)
    return [Item(prompt, tuple(responses.values()), tuple(each)) for each in votes.values()]


def _responses(data: Row) -> dict[str, str]:
    """The responses: fields of the task, or the list that a Ranker orders."""
    for listed in data.values():
        if isinstance(listed, list) and listed and all(isinstance(one, dict) and "id" in one for one in listed):
            return {str(one["id"]): str(next((one[name] for name in _TEXTS if one.get(name)), "")) for one in listed}
    return field_mapping.responses(data)


def _said(annotation: Row, names: list[str]) -> Iterator[tuple[str, Any]]:
    for result in annotation.get("result") or []:
        if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
            continue
        kind, found, question = result.get("type"), result["value"], str(result.get("from_name", ""))
        targets = result.get("to_name", "")
        targets = targets.split(",") if isinstance(targets, str) else targets
        if kind == "pairwise" and found.get("selected") in ("left", "right"):
            place = int(found["selected"] == "right")
            named = len(targets) == 2 and field_mapping.place_of(str(targets[place]).strip(), names) is not None
            yield question, str(targets[place]).strip() if named else found["selected"]
        elif kind == "choices" and found.get("choices"):
            yield question, str(found["choices"][0])
        elif kind in ("rating", "number"):
            about = str(targets[0]) if targets and len(names) > 1 else ""
            of_response = field_mapping.place_of(about, names) is not None
            yield f"{question} {about}" if of_response else question, found.get(kind)
        elif kind == "ranker":
            yield question, _order(found.get("ranker"))
        elif kind == "textarea":
            text = found.get("text")
            yield question, "\n".join(map(str, text)) if isinstance(text, list) else text


def _order(ranker: Any) -> list[Any]:
    """Names from best to worst: a list, or the one bucket of several that holds any ("_" is what was left lying)."""
    if isinstance(ranker, list):
        return ranker
    buckets = {name: listed for name, listed in ranker.items() if listed} if isinstance(ranker, dict) else {}
    sorted_out = {name: listed for name, listed in buckets.items() if name != "_"} or buckets
    if len(sorted_out) != 1:
        raise Refused("its ranker sorts into several buckets, which is no ranking")
    (order,) = sorted_out.values()
    return list(order)


def _annotator(annotation: Row) -> str:
    by = annotation.get("completed_by")
    by = by.get("id") if isinstance(by, dict) else by
    return "unknown" if by is None else str(by)


FORMAT = Format(label_studio, ("id",))
