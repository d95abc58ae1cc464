"""Note when a version's weights were collected."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, null in every row that is there: no table is rewritten."""
    op.add_column("versions", sa.Column("collected_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Drop it; versions without weights are then found out when their weights are asked for."""
    op.drop_column("versions", "collected_at")
