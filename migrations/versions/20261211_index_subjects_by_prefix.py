"""Index the subjects of audit events for those that begin with a path."""

from alembic import op

from migrations.concurrent_indexes import create_index, drop_index

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

NAME, TABLE, COLUMNS = "ix_audit_events_subject_prefix", "audit_events", ["subject", "sequence"]
OLD = "ix_audit_events_subject_sequence"


def upgrade() -> None:
    """Index subjects byte by byte, on PostgreSQL too, where the locale's order finds no prefix."""
    if _on_postgresql():
        create_index(NAME, TABLE, COLUMNS, postgresql_ops={"subject": "text_pattern_ops"})
        drop_index(OLD, TABLE)
    else:
        op.create_index(NAME, TABLE, COLUMNS)
        op.drop_index(OLD, TABLE)


def downgrade() -> None:
    """Index them by the database's order again."""
    if _on_postgresql():
        create_index(OLD, TABLE, COLUMNS)
        drop_index(NAME, TABLE)
    else:
        op.create_index(OLD, TABLE, COLUMNS)
        op.drop_index(NAME, TABLE)


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
