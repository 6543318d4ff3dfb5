"""Tasks that a lead can find, decide, pause and remove: their state, what they are found by, and who changed what."""

from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op

from labeling_ui.assignment.answer_comparison import disagreement
from labeling_ui.assignment.self_identification import names_its_model
from labeling_ui.data_model import Answer, Task

revision = "0007"
down_revision = "0006"

_OPEN_TO_ALL = "gold IS NULL AND reserved_for IS NULL AND state = 'open'"
_PARTIAL: dict[str, tuple[list[Any], str]] = {
    "open_tasks_by_priority": (
        ["campaign", "version", sa.text("priority DESC"), "taken", "id"],
        f"taken < overlap AND skips < 3 AND {_OPEN_TO_ALL}",
    ),
    "open_tasks": (["campaign", "version", "taken", "id"], f"taken < overlap AND skips < 3 AND {_OPEN_TO_ALL}"),
    "tasks_for_review": (["campaign", "version", "id"], f"taken = 0 AND skips >= 3 AND {_OPEN_TO_ALL}"),
    "gold_tasks": (["campaign", "version", "id"], "gold IS NOT NULL AND state = 'open'"),
    "divided_tasks": ([sa.text("disagreement DESC"), "id"], "disagreement > 0"),
}
_CHUNK = 5000
_ANY_SCALE = 9  # 0016 looks at short ones again


def upgrade() -> None:
    """Add what is new, fill it in, and index it. All tasks are open, as they were."""
    op.add_column("tasks", sa.Column("state", sa.Text, nullable=False, server_default="open"))
    op.add_column("tasks", sa.Column("activity", sa.Integer, nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("disagreement", sa.Double, nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("flagged", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "adjudications",
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("event", sa.Integer, sa.ForeignKey("events.number"), nullable=False, unique=True),
    )
    op.create_table(
        "task_changes",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
        sa.Column("person_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
        sa.Column("change", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    op.create_index("changes_by_task", "task_changes", ["task_id"])
    _fill_in(op.get_bind())
    for name in ("open_tasks_by_priority", "open_tasks", "tasks_for_review", "gold_tasks"):
        op.drop_index(name, "tasks")
    for name, (columns, where) in _PARTIAL.items():
        op.create_index(name, "tasks", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_index("repeats_of", "tasks", ["repeat_of"])
    op.create_index("tasks_by_activity", "tasks", [sa.text("activity DESC"), "id"])
    op.create_index("tasks_of_prompt", "tasks", ["prompt_id"])
    op.create_index("candidates_of_prompt", "candidates", ["prompt_id"])
    op.create_index("events_by_time", "events", ["created_at"])


def _fill_in(connection: sa.Connection) -> None:
    newest = "(SELECT max(events.number) FROM events WHERE events.task_id = tasks.id)"
    connection.execute(sa.text(f"UPDATE tasks SET activity = coalesce({newest}, 0)"))
    responses = sa.table("candidates", sa.column("id"), sa.column("response"))
    flagged = {row.id for row in connection.execute(sa.select(responses)) if names_its_model(row.response)}
    tasks = sa.table(
        "tasks", sa.column("id"), sa.column("prompt_id"), sa.column("candidates", sa.JSON), sa.column("activity"),
        sa.column("disagreement"), sa.column("flagged", sa.Boolean),
    )  # fmt: skip
    said = sa.text(
        "SELECT judgements.task_id, events.answer FROM judgements JOIN events ON events.number = judgements.event"
        " ORDER BY judgements.annotator_id"
    ).columns(sa.column("task_id"), sa.column("answer", sa.JSON))
    answers: dict[str, list[Answer]] = defaultdict(list)
    for row in connection.execute(said):
        groups = tuple(tuple(group) for group in row.answer.get("ranking", ()))
        answers[row.task_id].append(Answer(**{**row.answer, "ranking": groups}))
    rows = []
    for row in connection.execute(sa.select(tasks.c.id, tasks.c.prompt_id, tasks.c.candidates)):
        task = Task(row.prompt_id, tuple(row.candidates), id=row.id)
        apart = disagreement(answers.get(row.id, ()), task, _ANY_SCALE)
        names = not flagged.isdisjoint(row.candidates)
        if apart or names:
            rows.append({"task": row.id, "apart": apart, "names": names})
    change = sa.update(tasks).where(tasks.c.id == sa.bindparam("task"))
    change = change.values(disagreement=sa.bindparam("apart"), flagged=sa.bindparam("names"))
    for start in range(0, len(rows), _CHUNK):
        connection.execute(change, rows[start : start + _CHUNK])
