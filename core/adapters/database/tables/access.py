"""Tables of API keys, sessions, Idempotency-Keys, cached evaluation results and heartbeats."""

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, String, Table

from core.adapters.database.tables.schema import UtcTime, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("role", String, nullable=False),
    Column("models", JSON(none_as_null=True)),  # ids; null: all
    Column("prefix", String),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("rotated_at", UtcTime),
    Column("revoked_at", UtcTime),
)

# Every secret that a key has ever had, so that none of them is let in as a new one.
api_key_secrets = Table(
    "api_key_secrets",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("key", ForeignKey("api_keys.id"), nullable=False),
    Column("valid_until", UtcTime),  # null: until it is rotated
)

# Apart from the keys, so that noting a use waits for nobody who changes them.
key_uses = Table(
    "key_uses",
    metadata,
    Column("key", ForeignKey("api_keys.id"), primary_key=True),
    Column("at", UtcTime, nullable=False),
)

sessions = Table(  # of browsers
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the session's id
    Column("secret", ForeignKey("api_key_secrets.digest"), nullable=False),  # that opened it
    Column("expires_at", UtcTime, nullable=False),
)

previous_keys = Table(  # read only by the previous release, which may run beside this one
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

Index(None, api_key_secrets.c.key)
Index(None, sessions.c.expires_at)
Index(None, idempotency.c.created_at)
