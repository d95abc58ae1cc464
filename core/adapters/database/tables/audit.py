"""Tables of audit events and of the last one's hash."""

from sqlalchemy import JSON, Column, Index, Integer, String, Table

from core.adapters.database.tables.schema import RowNumber, UtcTime, metadata

audit_events = Table(
    "audit_events",
    metadata,
    Column("sequence", RowNumber, primary_key=True, autoincrement=False),
    Column("actor", String, nullable=False),
    Column("key", String),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Column("reason", String, nullable=False),
    Column("request_id", String),
    Column("at", UtcTime, nullable=False),
    Column("hash", String(64), nullable=False),
)

# One row, which a transaction locks to append: so the chain never forks.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", RowNumber, nullable=False),
    Column("hash", String(64), nullable=False),
)

Index(None, audit_events.c.actor, audit_events.c.sequence)
Index(None, audit_events.c.action, audit_events.c.sequence)
Index(
    "ix_audit_events_subject_prefix",
    audit_events.c.subject,
    audit_events.c.sequence,
    postgresql_ops={"subject": "text_pattern_ops"},  # byte by byte, as SQLite compares anyway
)
Index(None, audit_events.c.at, audit_events.c.sequence)
