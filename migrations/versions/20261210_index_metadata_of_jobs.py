"""Index the metadata of jobs, by a table that the database itself keeps."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TABLE = "job_metadata"
INDEXES = {
    "ix_job_metadata_key_value_job": ["key", "value", "job"],
    "ix_job_metadata_key_job": ["key", "job"],
}
ON_SQLITE = (
    """CREATE TRIGGER keep_job_metadata AFTER INSERT ON jobs BEGIN
    INSERT INTO job_metadata (job, key, value)
    SELECT NEW.position, key, value FROM json_each(NEW.metadata); END""",
)
ON_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION keep_job_metadata() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO job_metadata (job, key, value)
    SELECT NEW.position, key, value FROM json_each_text(NEW.metadata);
    RETURN NULL; END $$""",
    "DROP TRIGGER IF EXISTS keep_job_metadata ON jobs",
    """CREATE TRIGGER keep_job_metadata AFTER INSERT ON jobs
    FOR EACH ROW EXECUTE FUNCTION keep_job_metadata()""",
)
FILL_ON_SQLITE = """INSERT INTO job_metadata (job, key, value)
    SELECT position, pair.key, pair.value FROM jobs, json_each(jobs.metadata) AS pair"""
# A job that is being deleted is waited for, and then left out.
FILL_ON_POSTGRESQL = """INSERT INTO job_metadata (job, key, value)
    SELECT position, pair.key, pair.value
    FROM (SELECT position, metadata FROM jobs FOR KEY SHARE) AS old,
    json_each_text(old.metadata) AS pair ON CONFLICT DO NOTHING"""


def upgrade() -> None:
    """Create the table and the trigger that fills it, also for the release before; add old jobs.

    PostgreSQL adds them outside the transaction that locks `jobs`; what an earlier try has done
    may be there already.
    """
    op.create_table(
        TABLE,
        sa.Column("job", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("job", "key"),
        sa.ForeignKeyConstraint(["job"], ["jobs.position"], ondelete="CASCADE"),
        if_not_exists=True,
    )
    for name, columns in INDEXES.items():
        op.create_index(name, TABLE, columns, if_not_exists=True)
    for statement in ON_POSTGRESQL if _on_postgresql() else ON_SQLITE:
        op.execute(statement)
    if _on_postgresql():
        with op.get_context().autocommit_block():
            op.execute(FILL_ON_POSTGRESQL)
    else:
        op.execute(FILL_ON_SQLITE)


def downgrade() -> None:
    """Drop them; the metadata is in the rows of the jobs."""
    if _on_postgresql():
        op.execute("DROP TRIGGER IF EXISTS keep_job_metadata ON jobs")
        op.execute("DROP FUNCTION IF EXISTS keep_job_metadata()")
    else:
        op.execute("DROP TRIGGER keep_job_metadata")
    op.drop_table(TABLE)


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
