"""How the texts of a task were looked at: as rendered Markdown, as they were written, or as both."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; of earlier answers it is not known."""
    op.add_column("events", sa.Column("view", sa.Text))
