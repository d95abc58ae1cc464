"""Record who ordered a job, and index the waiting jobs by that."""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index, drop_index

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

NAME = "ix_jobs_waiting"
WAITING = sa.text("status = 'queued'")


def upgrade() -> None:
    """Add the column, which is null for older jobs: they count for no key."""
    op.add_column("jobs", sa.Column("ordered_by", sa.String()))
    if _on_postgresql():
        create_index(NAME, "jobs", ["ordered_by"], postgresql_where=WAITING)
    else:
        op.create_index(NAME, "jobs", ["ordered_by"], sqlite_where=WAITING)


def downgrade() -> None:
    """Drop both; who ordered a job is still in its audit event."""
    if _on_postgresql():
        drop_index(NAME, "jobs")
    else:
        op.drop_index(NAME, "jobs")
    op.drop_column("jobs", "ordered_by")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
