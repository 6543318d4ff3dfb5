"""Answers in words, with responses as A, B, C in the order in which the page of their task shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labeling_ui.data_model import Answer, Judgement, Task
from labeling_ui.store.review.reading import Event, TaskDetail

LETTERS = "ABCDEFGHI"
Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """An event as the page tells it. `mark` is the word for what became of it; None if it is in force."""

    event: Event
    answer: str
    shown: str
    mark: str | None


def letters_of(task: Task) -> dict[str, str]:
    """The letter of each candidate."""
    return dict(zip(task.candidates, LETTERS, strict=False))


def in_words(answer: Answer, task: Task, words: Words) -> str:
    """What an answer says."""
    letters = letters_of(task)
    if answer.verdict == "preferred":
        return words[f"said.better_{answer.strength or 0}"].format(response=letters[answer.winner or ""])
    if answer.verdict == "ranked":
        return " > ".join(" = ".join(letters[one] for one in group) for group in answer.ranking)
    if answer.verdict == "rated":
        given = [f"{aspect} {', '.join(_points(points, letters))}" for aspect, points in answer.ratings.items()]
        return "; ".join([*given, *(words["said.not_applicable"].format(aspect=one) for one in answer.not_applicable)])
    return words[f"verdict.{answer.verdict}"]


def told(detail: TaskDetail, words: Words) -> list[Said]:
    """All events of a task, in order, each with what became of it."""
    found = []
    for place, event in enumerate(detail.events):
        judgement = event.judgement
        found.append(
            Said(
                event,
                in_words(judgement.answer, detail.task, words),
                _order(judgement, detail.task),
                _mark(event, detail.events[place + 1 :], words),
            )
        )
    return found


def _points(given: Mapping[str, int], letters: Mapping[str, str]) -> list[str]:
    return [f"{letters[one]} {point}" if len(letters) > 1 else str(point) for one, point in given.items()]


def _order(judgement: Judgement, task: Task) -> str:
    """The letters from left to right, as the annotator had them."""
    letters = letters_of(task)
    return " ".join(letters[one] for one in judgement.shown) if len(judgement.shown) > 1 else ""


def _mark(event: Event, later: Sequence[Event], words: Words) -> str | None:
    judgement = event.judgement
    if judgement.action in ("undo", "reopen"):
        return words[f"mark.{judgement.action}"]
    if event.in_force:
        return None
    if judgement.action == "adjudicate":
        ends, others = ("adjudicate", "reopen"), list(later)
    else:
        who = judgement.annotator_id
        ends, others = ("edit", "undo"), [each for each in later if each.judgement.annotator_id == who]
    following = next((each.judgement.action for each in others if each.judgement.action in ends), "")
    return words["mark.withdrawn" if following in ("undo", "reopen") else "mark.replaced"]
