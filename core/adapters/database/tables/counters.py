"""The table of counters, which a scrape reads instead of counting history."""

from sqlalchemy import Column, Float, String, Table

from core.adapters.database.tables.schema import metadata

# `labels` is canonical JSON, so that equal labels are equal keys.
counters = Table(
    "tallies",
    metadata,
    Column("name", String, primary_key=True),
    Column("labels", String, primary_key=True),
    Column("value", Float(53), nullable=False),
)
