"""Who may work on a campaign."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add a table without rows: every campaign is for everybody, as it was."""
    op.create_table(
        "campaign_people",
        sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), primary_key=True),
        sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    )
