"""Let a job pause: how often it has, and until when nobody may claim it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, null or a constant in every row that is there: no row is rewritten."""
    op.add_column("jobs", sa.Column("pauses", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("paused_until", sa.Float(53)))


def downgrade() -> None:
    """Drop them; a job that is paused may then be claimed at once."""
    op.drop_column("jobs", "paused_until")
    op.drop_column("jobs", "pauses")
