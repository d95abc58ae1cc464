"""Add exports."""

from contextlib import nullcontext

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import outside_transactions

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

FORGET = (
    "DELETE FROM job_events WHERE job IN (SELECT id FROM jobs WHERE type = 'export')",
    "DELETE FROM jobs WHERE type = 'export'",
)


def upgrade() -> None:
    """Create the table empty. No table that is there is touched."""
    op.create_table(
        "exports",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("format", sa.String(), primary_key=True),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("check", sa.JSON(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop it, with the jobs of its type: the next collection deletes the files.

    PostgreSQL reads through the jobs before the transaction that locks the table.
    """
    on_postgresql = op.get_context().dialect.name == "postgresql"
    with outside_transactions() if on_postgresql else nullcontext():
        for statement in FORGET:
            op.execute(statement)
    op.drop_table("exports")
