"""Pin the suites of an update; keep its reference set and what training chose."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ADDED = (("jobs", "suites"), ("versions", "reference"), ("versions", "notes"))


def upgrade() -> None:
    """Add the columns, null in every row that is there: no table is rewritten."""
    for table, column in ADDED:
        op.add_column(table, sa.Column(column, sa.JSON()))


def downgrade() -> None:
    """Drop them; a job that is running then reads its model's suites anew."""
    for table, column in reversed(ADDED):
        op.drop_column(table, column)
