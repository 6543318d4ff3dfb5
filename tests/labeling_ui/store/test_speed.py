"""What keeps handing out and taking fast: no statement of an answer looks through a whole table."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from labeling_ui.campaign import Campaign
from labeling_ui.store import progress
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill, prefer


def test_every_statement_of_an_answer_goes_by_an_index(tmp_path: Path) -> None:
    store = Store(tmp_path / "labels.db")
    fill(store, 40, 2, campaign=Campaign(gold_share=0.3, repeat_share=0.3, random_share=0.5), gold=5)
    ann = store.annotator("ann").id
    asked: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        asked[statement] = parameters[0] if many else parameters

    sa.event.listen(store.database.engine, "before_cursor_execute", note)
    for number in range(30):
        current, *_ = store.assignments(ann, 2)
        store.take(prefer(current, key=str(number)), 2)
        store.history(ann, 1)
        if number % 10 == 9:
            store.undo(ann, f"undo {number}")
    sa.event.remove(store.database.engine, "before_cursor_execute", note)

    plans: dict[str, list[str]] = {}
    with store.database.read() as connection:
        for statement, parameters in asked.items():
            if not statement.startswith(("BEGIN", "INSERT")):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans[statement] = [str(row.detail) for row in plan]
    store.close()
    assert len(plans) > 20
    # There are few campaigns, versions and people assigned. An index holds the open tasks, and nothing else. `own` is
    # what an index found of one annotator.
    fast = ("SCAN campaign", "COVERING INDEX open_tasks", "SCAN CONSTANT ROW", "SCAN own")
    for statement, plan in plans.items():
        scans = [step for step in plan if step.startswith("SCAN") and not any(fine in step for fine in fast)]
        sorts = [step for step in plan if "TEMP B-TREE" in step]
        assert not scans + sorts, (statement, plan)


def test_many_open_tasks_are_not_counted_anew_for_every_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    monkeypatch.setattr(progress, "_MANY", 5)
    store = Store(tmp_path / "labels.db")
    fill(store, 8)
    ann, ben = store.annotator("ann").id, store.annotator("ben").id
    assert store.progress(ben).total == 8

    def answer() -> None:
        shown = store.next_assignment(ann)
        assert shown
        store.record(prefer(shown))

    for _ in range(4):
        answer()
    assert store.progress(ben).total == 8, "counted a moment ago"
    now += 6
    assert [store.progress(ben).total for _ in range(2)] == [4, 4]
    answer()
    assert store.progress(ben).total == 3, "few are counted every time"
    store.close()
