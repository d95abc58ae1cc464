"""Let a job belong to no model, and wait in a lane of its own."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import create_index, outside_transactions

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

LANE = sa.text("coalesce(lane, model)")
QUEUED = sa.text("(status = 'queued')")
UNFINISHED = sa.text("status IN ('queued', 'running', 'cancelling')")
CLAIMED = sa.text("status IN ('running', 'cancelling')")
WITHOUT_MODEL = (
    "DELETE FROM job_events WHERE job IN (SELECT id FROM jobs WHERE model IS NULL)",
    "DELETE FROM jobs WHERE model IS NULL",
)


def upgrade() -> None:
    """Add the lane, null in every row that is there: those jobs wait in the lane of their model.

    SQLite copies the table, since it cannot make a column nullable otherwise. PostgreSQL reads it
    only to build indexes; the column may be there already from a try that got no further.
    """
    lane = sa.Column("lane", sa.String())
    if _on_postgresql():
        op.add_column("jobs", lane, if_not_exists=True)
        op.alter_column("jobs", "model", nullable=True)
    else:
        op.drop_index("ux_jobs_claimed", "jobs")
        with op.batch_alter_table("jobs") as table:
            table.add_column(lane)
            table.alter_column("model", nullable=True)
    _index("ix_jobs_heads", [LANE, QUEUED, "position"], UNFINISHED)
    _index("ux_jobs_claimed", [LANE], CLAIMED, unique=True)


def downgrade() -> None:
    """Delete the jobs that belong to no model, and their events; require a model again.

    On PostgreSQL a validated constraint shows that no row lacks one, so that none is read under
    the lock that the column needs.
    """
    if _on_postgresql():
        op.execute("ALTER TABLE jobs DROP CONSTRAINT IF EXISTS ck_jobs_model")
        check = "ADD CONSTRAINT ck_jobs_model CHECK (model IS NOT NULL) NOT VALID"
        op.execute(f"ALTER TABLE jobs {check}")
        with outside_transactions():
            for delete in WITHOUT_MODEL:
                op.execute(delete)
            op.execute("ALTER TABLE jobs VALIDATE CONSTRAINT ck_jobs_model")
        _index("ix_jobs_heads", ["model", QUEUED, "position"], UNFINISHED)
        _index("ux_jobs_claimed", ["model"], CLAIMED, unique=True)
        op.alter_column("jobs", "model", nullable=False)
        op.execute("ALTER TABLE jobs DROP CONSTRAINT ck_jobs_model")
        op.drop_column("jobs", "lane")
        return
    for delete in WITHOUT_MODEL:
        op.execute(delete)
    op.drop_index("ix_jobs_heads", "jobs")
    op.drop_index("ux_jobs_claimed", "jobs")
    with op.batch_alter_table("jobs") as table:
        table.drop_column("lane")
        table.alter_column("model", nullable=False)
    _index("ux_jobs_claimed", ["model"], CLAIMED, unique=True)


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _index(
    name: str, columns: Sequence[str | sa.TextClause], rows: sa.TextClause, *, unique: bool = False
) -> None:
    """Index some rows of `jobs`, in place of an index of the same name."""
    if _on_postgresql():
        create_index(name, "jobs", columns, unique=unique, postgresql_where=rows)
    else:
        op.create_index(name, "jobs", columns, unique=unique, sqlite_where=rows)
