"""Campaigns, kinds of judgement, people, and an append-only log of events; carries over what 0001 holds.

Tasks get new ids, because their campaign is part of what names them, and people get random ones, so that an id says
nothing of a name. Tables of another shape are read, dropped and filled again, in the transaction of the migration.
"""

import secrets
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from foundation.files import content_id

revision = "0002"
down_revision = "0001"

_OPEN = "taken < overlap AND gold IS NULL AND reserved_for IS NULL"
_LEASE_SECONDS = 600.0
_CHUNK = 5000


def upgrade() -> None:
    """Read, rebuild, fill."""
    connection = op.get_bind()
    old = {
        name: list(connection.execute(sa.text(f"SELECT * FROM {name}")).mappings())
        for name in ("annotators", "tasks", "leases", "judgements")
    }
    for name in ("leases", "judgements", "tasks", "annotators"):
        op.drop_table(name)
    _make_tables()
    for table, rows in _carried_over(old).items():
        columns = [sa.column(name, sa.JSON) if name in _JSON else sa.column(name) for name in (rows or [{}])[0]]
        for start in range(0, len(rows), _CHUNK):
            op.bulk_insert(sa.table(table, *columns), rows[start : start + _CHUNK])


_JSON = ("settings", "candidates", "shown", "answer")


def _carried_over(old: dict[str, list[Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the new tables, parents first."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    people = {row["id"]: row["id"] if row["simulated"] else secrets.token_hex(8) for row in old["annotators"]}
    pairs = {row["id"]: sorted((row["a"], row["b"])) for row in old["tasks"]}
    tasks = {task_id: content_id("task", "main", None, None, *pair) for task_id, pair in pairs.items()}
    taken = Counter(row["task_id"] for name in ("leases", "judgements") for row in old[name])

    def shown(row: Any) -> list[str]:
        return sorted(pairs[row["task_id"]], key=lambda candidate: candidate != row["left"])

    leases: list[dict[str, Any]] = [
        {
            "task_id": tasks[row["task_id"]], "annotator_id": people[row["annotator_id"]], "shown": shown(row),
            "leased_until": row["leased_until"], "lasts": _LEASE_SECONDS, "granted": number,
        }
        for number, row in enumerate(sorted(old["leases"], key=lambda row: -float(row["leased_until"])), start=1)
    ]  # fmt: skip
    events: list[dict[str, Any]] = []
    for row in sorted(old["judgements"], key=lambda row: int(row["number"])):
        verdict = "preferred" if row["verdict"] in ("left", "right") else row["verdict"]
        answer = {"verdict": verdict, "winner": row["winner"], "strength": row["strength"]}
        events.append({
            "number": row["number"], "key": row["key"], "task_id": tasks[row["task_id"]],
            "annotator_id": people[row["annotator_id"]], "action": "answer", "verdict": verdict,
            "answer": {name: value for name, value in answer.items() if value is not None}, "shown": shown(row),
            "seconds": row["seconds"], "created_at": row["created_at"],
        })  # fmt: skip
    return {
        "campaigns": [{"name": "main", "settings": {"name": "main"}}] if tasks else [],
        "annotators": [
            {"id": people[row["id"]], "name": row["name"], "simulated": bool(row["simulated"]), "created_at": now}
            for row in old["annotators"]
        ],
        "tasks": [
            {"id": tasks[row["id"]], "campaign": "main", "prompt_id": row["prompt_id"], "candidates": pairs[row["id"]],
             "overlap": row["overlap"], "taken": taken[row["id"]]}
            for row in old["tasks"]
        ],
        "leases": leases,
        "events": events,
        "judgements": [
            {"task_id": event["task_id"], "annotator_id": event["annotator_id"], "event": event["number"]}
            for event in events
        ],
    }  # fmt: skip


def _make_tables() -> None:
    op.create_table(
        "campaigns",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("settings", sa.JSON, nullable=False),
    )
    op.create_table(
        "annotators",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("role", sa.Text, nullable=False, server_default="annotator"),
        sa.Column("password_hash", sa.Text),
        sa.Column("email", sa.Text, unique=True),
        sa.Column("session_version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    op.create_table(
        "invitations",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", sa.Double, nullable=False),
    )
    op.create_table(
        "server_secrets",
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), nullable=False),
        sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False),
        sa.Column("candidates", sa.JSON, nullable=False),
        sa.Column("overlap", sa.Integer, nullable=False),
        sa.Column("priority", sa.Double, nullable=False, server_default="0"),
        sa.Column("gold", sa.JSON),
        sa.Column("repeat_of", sa.Text, sa.ForeignKey("tasks.id")),
        sa.Column("reserved_for", sa.Text, sa.ForeignKey("annotators.id")),
        sa.Column("taken", sa.Integer, nullable=False, server_default="0"),
        sa.CheckConstraint("overlap >= 1", name="overlap_at_least_one"),
        sa.CheckConstraint("taken >= 0", name="taken_at_least_none"),
    )
    _index("open_tasks_by_priority", ["campaign", sa.text("priority DESC"), "taken", "id"], _OPEN)
    _index("open_tasks", ["campaign", "taken", "id"], _OPEN)
    _index("gold_tasks", ["campaign", "id"], "gold IS NOT NULL")
    op.create_index("repeats", "tasks", ["reserved_for", "repeat_of"])
    op.create_table(
        "events",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("shown", sa.JSON, nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    op.create_index("events_by_task", "events", ["task_id", "annotator_id"])
    op.create_table(
        "leases",
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
        sa.Column("shown", sa.JSON, nullable=False),
        sa.Column("leased_until", sa.Double, nullable=False),
        sa.Column("lasts", sa.Double, nullable=False),
        sa.Column("granted", sa.Integer, nullable=False),
        sa.Column("undone", sa.Integer, sa.ForeignKey("events.number")),
    )
    op.create_index("leases_by_annotator", "leases", ["annotator_id", "granted"])
    op.create_index("leases_by_end", "leases", ["leased_until"])
    op.create_table(
        "judgements",
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
        sa.Column("event", sa.Integer, sa.ForeignKey("events.number"), nullable=False, unique=True),
    )
    op.create_index("judgements_by_annotator", "judgements", ["annotator_id", "event"])


def _index(name: str, columns: list[Any], where: str) -> None:
    op.create_index(name, "tasks", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
