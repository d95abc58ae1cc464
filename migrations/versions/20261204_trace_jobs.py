"""Note the trace of the request that ordered a job."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, null in every row that is there: no row is rewritten."""
    op.add_column("jobs", sa.Column("trace", sa.String()))


def downgrade() -> None:
    """Drop it; jobs that wait will begin traces of their own."""
    op.drop_column("jobs", "trace")
