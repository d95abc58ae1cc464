"""Add the course of trials: what their labels said, at growing numbers of labels."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table empty: of trials that run, the course is noted from now on."""
    op.create_table(
        "trial_course",
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("labels", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("estimate", sa.Float(53), nullable=False),
        sa.Column("lower", sa.Float(53), nullable=False),
        sa.Column("upper", sa.Float(53), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop the table; what the labels say now follows from counts."""
    op.drop_table("trial_course")
