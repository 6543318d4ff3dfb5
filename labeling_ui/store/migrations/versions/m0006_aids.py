"""What annotators were shown on request: the words that differ, the lengths."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; of earlier answers it is not known."""
    op.add_column("events", sa.Column("aids", sa.JSON))
