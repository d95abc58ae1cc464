"""Keep tallies of what has happened, and the priority of each job."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and add the column with a constant default: no row is rewritten."""
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("labels", sa.String(), primary_key=True),
        sa.Column("value", sa.Float(53), nullable=False),
    )
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop both: jobs are run in the order they came, and counting starts again at zero."""
    op.drop_column("jobs", "priority")
    op.drop_table("tallies")
