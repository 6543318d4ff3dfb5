"""The places of tasks after second thoughts: an answer holds one, a skip does not."""

from collections import Counter
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from labeling_ui.data_model import Answer, Judgement
from labeling_ui.store import leases


def change_places(connection: sa.Connection, new: Sequence[Judgement], said: Mapping[tuple[str, str], Answer]) -> None:
    """A skip that is edited into an answer takes a place, and an answer that becomes a skip leaves it."""
    before, now = {pair: answer.verdict == "skip" for pair, answer in said.items()}, Counter[str]()
    for each in new:
        pair, skips = (each.task_id, each.annotator_id), each.answer.verdict == "skip"
        if each.action == "edit":
            now[each.task_id] += skips - before[pair]
        before[pair] = skips
    leases.change_taken(connection, {task_id: -number for task_id, number in now.items()}, now)


def end_places(connection: sa.Connection, task_ids: Sequence[str], verdicts: Sequence[str]) -> None:
    """Count withdrawn judgements no more; an annotator has one of a task at most."""
    given = list(zip(task_ids, verdicts, strict=True))
    answers = {task_id: -1 for task_id, verdict in given if verdict != "skip"}
    leases.change_taken(connection, answers, {task_id: -1 for task_id, verdict in given if verdict == "skip"})
