"""Add samples of trials: images about which the versions of a shadow disagree."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table empty."""
    op.create_table(
        "trial_samples",
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("pixels", sa.String(64), primary_key=True),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("prediction", sa.String(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("shadow_answer", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_trial_samples_pixels", "trial_samples", ["pixels"])


def downgrade() -> None:
    """Drop the table; the next collection deletes the images."""
    op.drop_table("trial_samples")
