"""Tables of webhooks and of the outbox: their deliveries."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from core.adapters.database.tables.schema import RowNumber, UtcTime, metadata

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),
    Column("url", String, nullable=False),
    Column("events", JSON, nullable=False),
    Column("models", JSON(none_as_null=True)),  # null: all
    Column("description", String, nullable=False),
    Column("secret", String, nullable=False),  # a signature needs the secret itself
    Column("former_secret", String),
    Column("former_until", UtcTime),
    Column("paused", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

# `position` is the order in which the events of one object happened. `lease_until` (epoch seconds
# by the database's clock) belongs to a claimed delivery; an expired one was lost.
deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("position", RowNumber, primary_key=True),
    Column("id", String, nullable=False),
    Column("webhook", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", String, nullable=False),
    Column("type", String, nullable=False),
    Column("object", String, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_until", Float(53)),
    Column("response_status", Integer),
    Column("error", JSON(none_as_null=True)),
    Column("created_at", UtcTime, nullable=False),
    Column("attempted_at", UtcTime),
    Column("next_attempt_at", UtcTime),
    UniqueConstraint("id"),
)

PENDING = text("status = 'pending'")
Index(
    "ix_webhook_deliveries_due",
    deliveries.c.next_attempt_at,
    sqlite_where=PENDING,
    postgresql_where=PENDING,
)
Index(
    "ix_webhook_deliveries_order",
    deliveries.c.webhook,
    deliveries.c.object,
    deliveries.c.position,
    sqlite_where=PENDING,
    postgresql_where=PENDING,
)

CLAIMED = text("lease_until IS NOT NULL")
# At most one claimed delivery per webhook, even if two claims run at once.
Index(
    "ux_webhook_deliveries_claimed",
    deliveries.c.webhook,
    unique=True,
    sqlite_where=CLAIMED,
    postgresql_where=CLAIMED,
)
Index(None, deliveries.c.webhook, deliveries.c.position)
Index(None, deliveries.c.created_at)
