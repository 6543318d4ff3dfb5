"""Pure rules of assignment: which task next for whom, which response is shown left, what counts as an answer.

Order and side follow from hashes of the ids, so that they are the same after a restart and cannot be
steered. Leases and locks are the store's business.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.labeling_ui.records import STRENGTHS, VERDICTS, Assignment, Judgement, Task, Verdict


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that an annotator may be given; `taken` counts its judgements and others' live leases."""

    task_id: str
    taken: int


def left_of(task: Task, annotator_id: str) -> str:
    """The id of the candidate that this annotator sees on the left: a fair coin for each pair of ids."""
    return task.a if _draw("left", annotator_id, task.id) & 1 else task.b


def next_task(open_tasks: Iterable[OpenTask], annotator_id: str) -> str | None:
    """The id of the least taken task; among equals, each annotator has a shuffled order of their own."""
    ranked = min(open_tasks, key=lambda task: (task.taken, _draw("order", annotator_id, task.task_id)), default=None)
    return ranked.task_id if ranked else None


def answer(
    assignment: Assignment,
    verdict: Verdict,
    strength: int | None = None,
    seconds: float | None = None,
    key: str = "",
) -> Judgement:
    """The judgement that a verdict on an assignment amounts to."""
    winner = {"left": assignment.left.id, "right": assignment.right.id}.get(verdict)
    return Judgement(
        task_id=assignment.task.id,
        annotator_id=assignment.annotator_id,
        verdict=verdict,
        left=assignment.left.id,
        winner=winner,
        strength=strength if winner else None,
        seconds=seconds,
        key=key,
    )


def check(judgement: Judgement, task: Task, shown_left: str | None = None) -> None:
    """Raise `UserError` where the judgement is no possible answer to the task; `shown_left` is what its lease says."""
    left, winner, strength, seconds = judgement.left, judgement.winner, judgement.strength, judgement.seconds
    where = f"the judgement of task {task.id}"
    if judgement.verdict not in VERDICTS:
        raise UserError(f'{where} says "{judgement.verdict}": expected one of {", ".join(VERDICTS)}.')
    if left not in (task.a, task.b):
        raise UserError(f'{where} shows "{left}" on the left, which is not one of its two candidates.')
    if shown_left not in (None, left):
        raise UserError(f"{where} has left and right the other way round than they were shown. Reload the page.")
    right = task.b if left == task.a else task.a
    expected = {"left": left, "right": right}.get(judgement.verdict)
    if winner != expected:
        raise UserError(f'{where} says "{judgement.verdict}", so its winner must be {expected}, not {winner}.')
    if strength is not None and (winner is None or type(strength) is not int or strength not in STRENGTHS):
        raise UserError(f"{where} has strength {strength!r}: only a winner has one, and it is 1, 2 or 3.")
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        raise UserError(f"{where} took {seconds} seconds: expected a number from 0 on.")


def _draw(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")
