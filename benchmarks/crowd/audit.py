"""What the store holds after the load, against what was acknowledged."""

from collections import Counter
from typing import Any

from benchmarks.crowd.annotators import Log
from labeling_ui.store.store import Store


def audit(url: str, log: Log) -> dict[str, Any]:
    """lost: acknowledged judgements that are not in force. doubled: second answers of one annotator to one task, and
    judgements above the overlap. short: tasks that lack judgements. problems: what the store's own check says."""
    store = Store(url)
    try:
        overlap = store.campaigns()[0].overlap
        kept = {(judgement.annotator_id, judgement.task_id) for judgement in store.judgements()}
        answers = Counter((e.annotator_id, e.task_id) for e in store.events() if e.action == "answer")
        tasks = [task for task in store.tasks() if task.gold is None and task.repeat_of is None]
        given = Counter(task_id for _, task_id in kept)
        above = sum(max(0, given[task.id] - overlap) for task in tasks)
        return {
            "acknowledged": len(log.acknowledged),
            "lost": sum(pair not in kept for pair in set(log.acknowledged)),
            "doubled": sum(number - 1 for number in answers.values()) + above,
            "short": sum(given[task.id] < overlap for task in tasks),
            "problems": store.verify(),
        }
    finally:
        store.close()
