"""Table of exports."""

from sqlalchemy import JSON, BigInteger, Column, Integer, String, Table

from core.adapters.database.tables.schema import UtcTime, metadata

# Whoever writes a row has locked its version, and whoever deletes a version deletes its rows.
exports = Table(
    "exports",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("format", String, primary_key=True),
    Column("artifact", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("check", JSON, nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)
