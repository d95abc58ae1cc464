"""Add the caller of a prediction, and the callers of which a label counts."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table; labels of earlier predictions have all counted."""
    op.add_column("trial_predictions", sa.Column("caller", sa.String()))
    op.add_column(
        "trial_predictions",
        sa.Column("same_caller", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "trial_callers",
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("caller", sa.String(), primary_key=True),
    )


def downgrade() -> None:
    """Drop the table and the columns; counts stay as they are."""
    op.drop_table("trial_callers")
    for column in ("same_caller", "caller"):
        op.drop_column("trial_predictions", column)
