"""Index the head of each model's queue."""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index, drop_index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index unfinished jobs by model, the claimed one first.

    On PostgreSQL only: its planner else looks through all jobs now and then. SQLite's never does.
    """
    if op.get_context().dialect.name == "postgresql":
        create_index(
            "ix_jobs_heads",
            "jobs",
            ["model", sa.text("(status = 'queued')"), "position"],
            postgresql_where=sa.text("status IN ('queued', 'running', 'cancelling')"),
        )


def downgrade() -> None:
    """Drop it; claims look through more rows again."""
    if op.get_context().dialect.name == "postgresql":
        drop_index("ix_jobs_heads", "jobs")
