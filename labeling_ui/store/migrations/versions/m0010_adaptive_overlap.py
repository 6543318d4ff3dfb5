"""Campaigns that ask more annotators where a vote is in doubt: what a task was asked at first, and people's skills."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Tasks that are finished stay so; those that everybody is still asked may be asked of more."""
    op.add_column("tasks", sa.Column("first_overlap", sa.Integer))
    answers = (
        "(SELECT count(*) FROM judgements JOIN events ON events.number = judgements.event"
        " WHERE judgements.task_id = tasks.id AND events.verdict <> 'skip')"
    )
    unfinished = f"gold IS NULL AND reserved_for IS NULL AND {answers} < overlap"
    op.execute(sa.text(f"UPDATE tasks SET first_overlap = overlap WHERE {unfinished}"))
    op.create_table(
        "annotator_skills",
        sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
        sa.Column("accuracy", sa.Double, nullable=False),
    )
