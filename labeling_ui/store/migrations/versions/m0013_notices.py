"""Notices to whoever leads, and how each of their deliveries stands."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add two tables; nobody was told anything."""
    op.create_table(
        "notices",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("began_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
    )
    op.create_table(
        "notice_deliveries",
        sa.Column("notice", sa.Integer, sa.ForeignKey("notices.number"), primary_key=True),
        sa.Column("address", sa.Text, primary_key=True),
        sa.Column("named", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("sent_at", sa.Double),
        sa.Column("problem", sa.Text, nullable=False),
    )
