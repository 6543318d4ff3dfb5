"""Tasks that are not open, and those in which a response names its model, are found without looking at the others."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

_NOT_OPEN, _FLAGGED = sa.text("state <> 'open'"), sa.text("flagged")
_NEWEST_FIRST = (sa.text("activity DESC"), "id")


def upgrade() -> None:
    """Add two indexes, of those tasks alone."""
    op.create_index(
        "tasks_not_open", "tasks", ["state", *_NEWEST_FIRST], sqlite_where=_NOT_OPEN, postgresql_where=_NOT_OPEN
    )
    op.create_index("flagged_tasks", "tasks", [*_NEWEST_FIRST], sqlite_where=_FLAGGED, postgresql_where=_FLAGGED)
