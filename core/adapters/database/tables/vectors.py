"""Tables of stored vectors and of reports on old indexes."""

from sqlalchemy import JSON, BigInteger, Column, Integer, String, Table

from core.adapters.database.tables.schema import UtcTime, metadata

# Whoever writes a row has locked its dataset and its version, and whoever deletes one of these, or
# erases an image, deletes the rows.
vectors = Table(
    "vectors",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("dataset", String, primary_key=True, index=True),
    Column("dataset_version", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("artifact", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("images", String(64), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

# Likewise, with its model in the place of the dataset.
index_reports = Table(
    "index_reports",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("baseline", Integer, primary_key=True, autoincrement=False),
    Column("report", String(64), nullable=False),
    Column("bridge", String(64), nullable=False),
    Column("sources", JSON, nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)
