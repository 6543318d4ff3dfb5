"""The log of security events."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add an empty log; what happened before is not known."""
    op.create_table(
        "security_events",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("person_id", sa.Text),
        sa.Column("subject_id", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("security_events_by_time", "security_events", ["created_at"])
