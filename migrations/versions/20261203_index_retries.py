"""Index retries by the job that they retry."""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index, drop_index

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

NAME = "ix_jobs_retry_of"
RETRIES = sa.text("retry_of IS NOT NULL")


def upgrade() -> None:
    """Add the index: whoever deletes a job looks for its retries, else among all jobs."""
    if op.get_context().dialect.name == "postgresql":
        create_index(NAME, "jobs", ["retry_of"], postgresql_where=RETRIES)
    else:
        op.create_index(NAME, "jobs", ["retry_of"], sqlite_where=RETRIES)


def downgrade() -> None:
    """Drop it; deleting a model with many jobs takes long again."""
    if op.get_context().dialect.name == "postgresql":
        drop_index(NAME, "jobs")
    else:
        op.drop_index(NAME, "jobs")
