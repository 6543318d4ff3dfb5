"""What the store holds after the load, against what was acknowledged."""

from collections import Counter
from collections.abc import Set
from typing import Any

import sqlalchemy as sa

from benchmarks.crowd.annotators import Log
from benchmarks.crowd.leads import Changed
from labeling_ui.store import tables
from labeling_ui.store.review.adjudication import decisions
from labeling_ui.store.store import Store
from labeling_ui.web.tasks.decision_form import read_decision


def audit(url: str, log: Log, touched: Set[str] = frozenset()) -> dict[str, Any]:
    """lost: acknowledged judgements that are not in force. doubled: second answers of one annotator to one task, and
    judgements above the greatest overlap, but on tasks that leads `touched`: an answer that was on its way when its
    task was taken away is kept. short: tasks that lack judgements. problems: what the store's own check says."""
    store = Store(url)
    try:
        (campaign, *_) = store.campaigns()
        most = campaign.max_overlap or campaign.overlap
        with store.database.read() as connection:
            wanted = {
                row.id: row.overlap for row in connection.execute(sa.select(tables.tasks.c.id, tables.tasks.c.overlap))
            }
        kept = {(judgement.annotator_id, judgement.task_id) for judgement in store.judgements()}
        answers = Counter((e.annotator_id, e.task_id) for e in store.events() if e.action == "answer")
        tasks = [task for task in store.tasks() if task.gold is None and task.repeat_of is None]
        given = Counter(task_id for _, task_id in kept)
        above = sum(max(0, given[task.id] - most) for task in tasks if task.id not in touched)
        return {
            "acknowledged": len(log.acknowledged),
            "lost": sum(pair not in kept for pair in set(log.acknowledged)),
            "doubled": sum(number - 1 for number in answers.values()) + above,
            "short": sum(given[task.id] < wanted[task.id] for task in tasks),
            "problems": store.verify(),
        }
    finally:
        store.close()


def audit_leads(url: str, changed: Changed) -> dict[str, int]:
    """lost_...: acknowledged, and not in force. doubled_...: in the log twice."""
    store = Store(url)
    try:
        with store.database.read() as connection:
            in_force = {each.task_id: each.answer for each in decisions(connection)}
            log = connection.execute(sa.select(tables.task_changes.c.task_id, tables.task_changes.c.change)).all()
        states = {task.id: task for task in store.tasks()}
        decided = Counter(each.task_id for each in store.events() if each.action == "adjudicate")
        wrong = 0
        for task_id, form in changed.decided.items():
            campaign = store.campaigns()[0]
            expected = read_decision({"answer": form}, states[task_id], campaign)
            wrong += in_force.get(task_id) != expected or states[task_id].state != "decided"
        logged = Counter((row.task_id, row.change) for row in log)
        return {
            "decisions": len(changed.decided),
            "lost_decisions": wrong,
            "doubled_decisions": sum(number - 1 for number in decided.values()),
            "changes": len(log),
            "lost_changes": sum(states[task_id].state != state for task_id, state in changed.states.items()),
            "doubled_changes": sum(number - 1 for number in logged.values()),
        }
    finally:
        store.close()
