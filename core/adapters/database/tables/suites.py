"""Tables of suites and gate policies, by which versions are judged."""

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, String, Table

from core.adapters.database.tables.schema import UtcTime, metadata

suites = Table(
    "suites",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("manifest", String(64), nullable=False),
    Column("classes", JSON, nullable=False),
    Column("images", Integer, nullable=False),
    Column("prompt", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

suite_images = Table(
    "suite_images",
    metadata,
    Column("pixels", String(64), primary_key=True),
    Column("suite", ForeignKey("suites.id"), primary_key=True),
)

suite_dhashes = Table(  # read only by the previous release, which may run beside this one
    "suite_dhashes",
    metadata,
    Column("dhash", String(16), primary_key=True),
    Column("suite", ForeignKey("suites.id"), primary_key=True),
)

policies = Table(
    "policies",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("parent_tolerance", Float(53), nullable=False),
    Column("root_tolerance", Float(53), nullable=False),
    Column("holdout_tolerance", Float(53), nullable=False),
    Column("wanted_gain", Float(53), nullable=False),
    Column("minimum_count", Integer, nullable=False),
    Column("alpha", Float(53), nullable=False),
    Column("line_error", Float(53)),
    Column("line_updates", Integer, nullable=False, server_default="100"),
    Column("negative_flips", Float(53)),
    Column("reason", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

Index(None, suite_images.c.suite)
Index(None, suite_dhashes.c.suite)
