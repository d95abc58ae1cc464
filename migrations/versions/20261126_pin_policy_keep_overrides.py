"""Pin the policy of a job beside its suites; keep which moves took an override."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns: no job that is there has a policy, no move is known as an override."""
    op.add_column("jobs", sa.Column("policy", sa.String()))
    op.add_column(
        "alias_moves",
        sa.Column("override", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    """Drop them; a job that waits is then judged by its model's policy."""
    op.drop_column("alias_moves", "override")
    op.drop_column("jobs", "policy")
