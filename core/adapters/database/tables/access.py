"""Tables of API keys, Idempotency-Keys, cached evaluation results and heartbeats."""

from sqlalchemy import JSON, Column, Float, Index, String, Table

from core.adapters.database.tables.schema import UtcTime, metadata

keys = Table(
    "keys",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("body", String(64), nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("question", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("answers", String(64), nullable=False),
)

heartbeats = Table(
    "beats",
    metadata,
    Column("worker", String, primary_key=True),
    Column("facts", JSON, nullable=False),
    Column("at", Float(53), nullable=False),  # the database's clock, epoch seconds
)

Index(None, idempotency.c.created_at)
