"""Let a policy limit the error of a whole line, and negative flips."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns: the policies that are there limit neither. No table is rewritten."""
    op.add_column("policies", sa.Column("line_error", sa.Float(53)))
    op.add_column(
        "policies", sa.Column("line_updates", sa.Integer(), nullable=False, server_default="100")
    )
    op.add_column("policies", sa.Column("negative_flips", sa.Float(53)))


def downgrade() -> None:
    """Drop them; models whose policy has a limit are then judged without it."""
    op.drop_column("policies", "negative_flips")
    op.drop_column("policies", "line_updates")
    op.drop_column("policies", "line_error")
