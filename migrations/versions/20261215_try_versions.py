"""Add trials, their counts and predictions, and the trial of an alias."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables empty; no alias has a trial yet."""
    op.create_table(
        "trials",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("model", sa.String(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("current", sa.Integer(), nullable=False),
        sa.Column("candidate", sa.Integer(), nullable=False),
        sa.Column("share", sa.Float(53)),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("started_by", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_by", sa.String()),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("end", sa.String()),
    )
    op.create_table(
        "trial_counts",
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "trial_predictions",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("shadowed", sa.String()),
        sa.Column("shadow_answer", sa.String()),
        sa.Column("label", sa.String()),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    for table, columns in (
        ("trials", ["model", "alias", "id"]),
        ("trial_predictions", ["trial", "id"]),
        ("trial_predictions", ["at"]),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)
    op.add_column("aliases", sa.Column("trial", sa.String()))


def downgrade() -> None:
    """Drop the column and the tables; trials that run end with it."""
    op.drop_column("aliases", "trial")
    for table in ("trial_predictions", "trial_counts", "trials"):
        op.drop_table(table)
