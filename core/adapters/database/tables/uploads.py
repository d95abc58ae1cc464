"""Table of resumable uploads."""

from sqlalchemy import JSON, BigInteger, Column, Index, String, Table

from core.adapters.database.tables.schema import UtcTime, metadata

uploads = Table(
    "uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("parts", JSON, nullable=False),  # artifacts, in order
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)
Index(None, uploads.c.owner)
