"""Keys with which programs ask in a person's name."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add a table without rows: nobody has a key yet."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key_hash", sa.Text, nullable=False, unique=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
    )
