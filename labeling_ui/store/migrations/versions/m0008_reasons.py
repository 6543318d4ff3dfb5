"""Why a task was chosen: empty for those that were drawn at random, as all were."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column."""
    op.add_column("tasks", sa.Column("reason", sa.Text, nullable=False, server_default=""))
