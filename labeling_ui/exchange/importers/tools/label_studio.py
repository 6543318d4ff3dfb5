"""Label Studio's JSON export: tasks with `data` and several annotators' `annotations`.

Read are the results of Pairwise, Choices, Ranker, Rating and Number, and TextArea as the rationale. Pairwise offers two
sides alone: a control that says nothing but "Tie" or "Both bad" completes it, if nobody answers both. A cancelled
annotation is a skip. Predictions are models' guesses and are never read. Annotators keep their number in Label Studio;
names and e-mail addresses are not taken over. The JSON-MIN and CSV exports do not say who judged what, and are refused.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foundation.files import Row
from labeling_ui.data_model import Answer
from labeling_ui.exchange.importers.judged_items import Item, Parsed, Refused, Vote
from labeling_ui.exchange.importers.layout import Format, Layout, Questions, Wishes
from labeling_ui.exchange.importers.tools import fields
from labeling_ui.exchange.importers.tools.questions import Evidence, Said, decide
from labeling_ui.exchange.importers.tools.votes import answer_of
from labeling_ui.exchange.importers.values import listed, name_of

_TEXTS = ("text", "body", "html", "title")


def label_studio(row: Row, layout: Layout) -> Parsed:
    """One task, as an item with a vote of each annotator."""
    columns, data = layout.wishes.columns, row.get("data")
    if not isinstance(data, dict) or row.get("annotations") is None:
        name = "annotations" if isinstance(data, dict) else "data"
        raise Refused(f'the field "{name}" is missing: export the project as JSON, not as JSON-MIN')
    judged = [each for each in listed(row, "annotations") if isinstance(each, dict)]
    if not judged:
        raise Refused("nobody has annotated it")
    prompt, responses = fields.conversation(data, columns), _responses(data, columns)
    names, texts = list(responses), fields.response_texts(responses, prompt)
    votes: list[Vote] = []
    odd: list[Refused] = []
    for annotation in judged:
        try:
            votes.append(_vote(annotation, names, layout))
        except Refused as refused:
            odd.append(refused)
    return [*([Item(prompt, texts, tuple(votes))] if votes else []), *odd]


def _vote(annotation: Row, names: Sequence[str], layout: Layout) -> Vote:
    by, cancelled = annotation.get("completed_by"), annotation.get("was_cancelled")
    name = name_of(by.get("id") if isinstance(by, dict) else by)
    if cancelled is None and not layout.wishes.submitted:
        raise Refused('an annotation does not say "was_cancelled": say --submitted if none was cancelled')
    who = name and f"labelstudio {name}"
    if cancelled:
        return Vote(who, Answer("skip", reason="cancelled in Label Studio"))
    answer = answer_of(_results(annotation, names), names, layout.roles, layout.wishes.campaign.aspects)
    if answer is None:
        raise Refused("an annotation says nothing of the responses")
    return Vote(who, answer, scale=layout.wishes.scale)


class _Questions(Questions):
    """The questions of a project: what its results come from."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, Evidence] = defaultdict(Evidence)

    def see(self, row: Row, columns: Mapping[str, Sequence[str]]) -> None:
        annotations = row.get("annotations")
        try:
            names = list(_responses(_data(row), columns))
        except Refused:
            return
        lists = [name for name, items in _data(row).items() if _are_items(items)]
        self.read |= dict.fromkeys([*fields.prompt_fields(_data(row)), *names, *lists])
        for annotation in annotations if isinstance(annotations, list) else []:
            if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
                given = list(_results(annotation, names))
                for said in given:
                    self._found[said.question].add(said, names)
                    self._found[said.question].beside_sides += any(each.shape == "pair" for each in given)

    def decide(self, wishes: Wishes, file: str) -> tuple[dict[str, str], dict[str, int]]:
        return decide(self._found, wishes, file), {name: each.count for name, each in self._found.items()}


def _data(row: Row) -> Row:
    data = row.get("data")
    return data if isinstance(data, dict) else {}


def _responses(data: Row, columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The responses: fields of the task, or else the list that a Ranker orders."""
    found: list[dict[str, Any]] = []
    for items in data.values():
        if _are_items(items):
            texts = {str(one["id"]): next((one[name] for name in _TEXTS if one.get(name)), None) for one in items}
            found += [texts] if all(texts.values()) else []
    try:
        named = fields.responses(data, columns)
    except Refused:
        named = {}
    if len(named) > 1 or not found:
        return fields.responses(data, columns)
    if len(found) > 1:
        raise Refused("several of its lists could be the responses")
    return found[0]


def _are_items(found: Any) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(one, dict) and "id" in one for one in found)


def _results(annotation: Row, names: Sequence[str]) -> Iterator[Said]:
    results = annotation.get("result")
    for result in results if isinstance(results, list) else []:
        if not isinstance(result, dict) or not isinstance(result.get("value"), dict):
            continue
        kind, found, question = result.get("type"), result["value"], str(result.get("from_name", ""))
        to = result.get("to_name", "")
        targets = [each.strip() for each in to.split(",")] if isinstance(to, str) else list(map(str, to or []))
        about = targets[0] if len(targets) == 1 else ""
        if kind == "pairwise" and found.get("selected") in ("left", "right"):
            side = str(found["selected"])
            named = len(targets) == 2 and fields.place_of(targets[side == "right"], names) is not None
            yield Said(question, "pair", targets[side == "right"] if named else side)
        elif kind == "choices" and isinstance(found.get("choices"), list) and found["choices"]:
            several = len(found["choices"]) > 1
            yield (
                Said(question, "other", found["choices"])
                if several
                else Said(question, "label", str(found["choices"][0]))
            )
        elif kind in ("rating", "number") and isinstance(found.get(kind), int | float):
            yield Said(question, "number", found[kind], about)
        elif kind == "ranker":
            yield _order(question, found.get("ranker"))
        elif kind == "textarea":
            text = found.get("text")
            yield Said(question, "text", "\n".join(map(str, text)) if isinstance(text, list) else str(text or ""))
        else:
            yield Said(question, "other", found)


def _order(question: str, ranker: Any) -> Said:
    """Names from best to worst: a list, or the one bucket of several that holds any ("_" is what was left lying)."""
    if isinstance(ranker, list):
        return Said(question, "order", [[str(each)] for each in ranker])
    buckets = {name: items for name, items in ranker.items() if items} if isinstance(ranker, dict) else {}
    moved = {name: items for name, items in buckets.items() if name != "_"}
    if not moved:
        return Said(question, "odd", "its ranker was not touched, which is no ranking")
    if len(moved) > 1:
        return Said(question, "odd", "its ranker sorts into several buckets, which is no ranking")
    (order,) = moved.values()
    return Said(question, "order", [[str(each)] for each in order])


FORMAT = Format(label_studio, fields.FIELDS, identity=("id",), shown=_data, questions=_Questions)
