"""Prompts, candidates, tasks, annotators, leases and judgements."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "prompts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("messages", sa.JSON, nullable=False),
        sa.Column("references", sa.JSON, nullable=False),
    )
    op.create_table(
        "candidates",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("source", sa.JSON, nullable=False),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False),
        sa.Column("a", sa.Text, sa.ForeignKey("candidates.id"), nullable=False),
        sa.Column("b", sa.Text, sa.ForeignKey("candidates.id"), nullable=False),
        sa.Column("overlap", sa.Integer, nullable=False),
        sa.CheckConstraint("overlap >= 1", name="overlap_at_least_one"),
        sa.CheckConstraint("a <> b", name="two_candidates"),
    )
    op.create_table(
        "annotators",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("simulated", sa.Boolean, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
        sa.Column("left", sa.Text, sa.ForeignKey("candidates.id"), nullable=False),
        sa.Column("leased_until", sa.Double, nullable=False),
    )
    op.create_index("leases_by_annotator", "leases", ["annotator_id"])
    op.create_table(
        "judgements",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("left", sa.Text, sa.ForeignKey("candidates.id"), nullable=False),
        sa.Column("winner", sa.Text, sa.ForeignKey("candidates.id")),
        sa.Column("strength", sa.Integer),
        sa.Column("seconds", sa.Double),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.UniqueConstraint("task_id", "annotator_id", name="one_judgement_each"),
    )
    op.create_index("judgements_by_annotator", "judgements", ["annotator_id"])
