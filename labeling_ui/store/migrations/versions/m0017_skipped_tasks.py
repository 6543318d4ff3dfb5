"""A task that enough annotators have skipped waits for a reviewer also where others have judged it."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_FOR_REVIEW = sa.text("taken < overlap AND skips >= 3 AND gold IS NULL AND reserved_for IS NULL AND state = 'open'")


def upgrade() -> None:
    """Index those as well."""
    op.drop_index("tasks_for_review", "tasks")
    op.create_index(
        "tasks_for_review", "tasks", ["campaign", "version", "id"],
        sqlite_where=_FOR_REVIEW, postgresql_where=_FOR_REVIEW,
    )  # fmt: skip
