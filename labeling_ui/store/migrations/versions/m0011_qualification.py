"""A qualification round: each attempt of a person, and the tasks that were dealt in it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add two tables; nobody has begun."""
    op.create_table(
        "qualifications",
        sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("begun_at", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Text),
        sa.Column("outcome", sa.Text),
    )
    op.create_table(
        "qualification_tasks",
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
        sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("right", sa.Double),
    )
    op.create_index("qualification_by_person", "qualification_tasks", ["annotator_id", "campaign", "attempt"])
