"""Add the bytes of samples, which count into the quota of stored images."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: samples that are there count for nothing, since their bytes are not known."""
    size = sa.Column("size", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("trial_samples", size)


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("trial_samples", "size")
