"""What annotators wrote beside their judgements, when, and how long they took: further fields of exported rows.

Rows of several annotators get `rationales`, `seconds` and `at`, a value for each of `annotators` in their order; those
of one `annotator` get `rationale`, `seconds` and `at`. They are for people to read and count: what trainers learn from
does not depend on them. Why a task was skipped is in the export of answers alone, for it gives no other row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from foundation.files import Row
from labeling_ui.data_model import Judgement, Task
from labeling_ui.exchange.weighted_votes import VotedLabels

_BY = {"annotators", "annotator"}
Export = Callable[[VotedLabels], Iterable[Row]]


def with_remarks(labels: VotedLabels, export: Export) -> Iterator[Row]:
    """The rows of an export, each with what was said beside the judgements that it is made of.

    A row is made of one task, in the order of the tasks, or else (`unpaired`) of all that show its responses.
    """
    rows = list(export(labels))
    if not any(_BY & row.keys() for row in rows):
        yield from rows  # of nobody: prompts, say, which would be gone through once for every task
        return
    for row, tasks in zip(rows, _made_of(rows, labels, export), strict=True):
        own = row.get("origin") == "rewrite"  # an annotator's own, also where a reviewer decided
        given = [judgement for task in tasks for judgement in _given(labels, task, own)]
        if "annotators" in row:
            each = [_said(given, name) for name in row["annotators"]]
            yield row | {
                "rationales": [said["rationale"] for said in each],
                "seconds": [said["seconds"] for said in each],
                "at": [said["at"] for said in each],
            }
        else:
            yield row | (_said(given, row["annotator"]) if "annotator" in row else {})


def _made_of(rows: Sequence[Row], labels: VotedLabels, export: Export) -> list[list[Task]]:
    if not any("completion" in row for row in rows):
        return [[task] for task in labels.tasks for _ in export(replace(labels, tasks=[task]))]
    by_response: dict[str, list[Task]] = {}
    for task in labels.tasks:
        for candidate in task.candidates:
            by_response.setdefault(candidate, []).append(task)
    return [by_response.get(row["ids"]["completion"], []) for row in rows]


def _given(labels: VotedLabels, task: Task, own: bool) -> Sequence[Judgement]:
    if own and task.id in labels.overruled:
        return labels.overruled[task.id]
    return labels.judgements.get(task.id, ())


def _said(given: Sequence[Judgement], annotator: str) -> dict[str, Any]:
    """Of one annotator's judgements; what was written is joined."""
    found = [each for each in given if each.annotator_id == annotator and each.answer.verdict != "skip"]
    seconds = [judgement.seconds for judgement in found if judgement.seconds is not None]
    return {
        "rationale": "\n\n".join(judgement.answer.rationale for judgement in found if judgement.answer.rationale),
        "seconds": sum(seconds) if seconds else None,
        "at": max((judgement.created_at for judgement in found), default=""),
    }
