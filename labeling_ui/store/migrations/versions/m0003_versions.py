"""Versions of campaigns, the settings under which each answer was given, and skips that use no place of a task.

All that 0002 holds is of the first version of its campaign, whose settings are those that it has now. Campaigns keep
the order in which they were served: that of their names.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_OPEN = "taken < overlap AND skips < 3 AND gold IS NULL AND reserved_for IS NULL"
_FOR_REVIEW = "taken = 0 AND skips >= 3 AND gold IS NULL AND reserved_for IS NULL"


def upgrade() -> None:
    """Add what is new, fill it in, and index it."""
    settings = op.create_table(
        "campaign_settings",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("campaign", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )
    connection = op.get_bind()
    columns = sa.column("name", sa.Text), sa.column("settings", sa.JSON)
    old = connection.execute(sa.select(*columns).select_from(sa.table("campaigns", *columns)).order_by("name")).all()
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    rows = [
        {"number": number, "campaign": row.name, "version": 1, "settings": row.settings, "created_at": now}
        for number, row in enumerate(old, start=1)
    ]
    op.bulk_insert(settings, rows)
    for statement in _ADD:
        op.execute(statement)
    for name in ("open_tasks_by_priority", "open_tasks", "gold_tasks"):
        op.drop_index(name, "tasks")
    _index("open_tasks_by_priority", ["campaign", "version", sa.text("priority DESC"), "taken", "id"], _OPEN)
    _index("open_tasks", ["campaign", "version", "taken", "id"], _OPEN)
    _index("tasks_for_review", ["campaign", "version", "id"], _FOR_REVIEW)
    _index("gold_tasks", ["campaign", "version", "id"], "gold IS NOT NULL")


_SKIPPED = (
    "(SELECT count(*) FROM judgements JOIN events ON events.number = judgements.event"
    " WHERE judgements.task_id = tasks.id AND events.verdict = 'skip')"
)
_SETTINGS_OF = "(SELECT number FROM campaign_settings WHERE campaign_settings.campaign = {name})"
# Foreign keys of new columns in the words that both databases know: alembic adds none to a table of SQLite.
_ADD = (
    "ALTER TABLE campaigns ADD COLUMN number INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE campaigns ADD COLUMN current INTEGER REFERENCES campaign_settings(number)",
    f"UPDATE campaigns SET number = {_SETTINGS_OF.format(name='name')}, current = {_SETTINGS_OF.format(name='name')}",
    "ALTER TABLE campaigns DROP COLUMN settings",
    "ALTER TABLE tasks ADD COLUMN version INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE tasks ADD COLUMN skips INTEGER NOT NULL DEFAULT 0",
    f"UPDATE tasks SET skips = {_SKIPPED}, taken = taken - {_SKIPPED}",
    "ALTER TABLE events ADD COLUMN settings INTEGER REFERENCES campaign_settings(number)",
    "UPDATE events SET settings = (SELECT campaigns.current FROM campaigns"
    " JOIN tasks ON tasks.campaign = campaigns.name WHERE tasks.id = events.task_id)",
)


def _index(name: str, columns: list[Any], where: str) -> None:
    op.create_index(name, "tasks", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
