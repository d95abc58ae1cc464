"""Tables of models, their versions and their aliases."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    false,
)

from core.adapters.database.tables.schema import UtcTime, metadata

models = Table(
    "models",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("policy", ForeignKey("policies.id"), nullable=False),
    Column("last_version", Integer, nullable=False),  # the counter that numbers versions
    Column("created_at", UtcTime, nullable=False),
)

model_suites = Table(
    "model_suites",
    metadata,
    Column("model", ForeignKey("models.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("suite", ForeignKey("suites.id"), nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", ForeignKey("models.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("status", String, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("parent", Integer),
    Column("job", ForeignKey("jobs.id"), nullable=False),
    Column("recipe", JSON(none_as_null=True)),
    Column("dataset", String),
    Column("dataset_version", Integer),
    Column("update_classes", JSON, nullable=False),
    Column("classes", JSON, nullable=False),
    Column("prompt", String, nullable=False),
    Column("verdict", String),
    Column("report", String(64)),
    Column("environment", JSON, nullable=False),
    Column("environments", JSON(none_as_null=True)),  # null: made before they were recorded
    Column("reference", JSON(none_as_null=True)),  # {"dataset", "version"} of a reference set
    Column("notes", JSON(none_as_null=True)),  # null: made before notes were recorded
    # Class names to artifacts; null: made before feature statistics were kept.
    Column("feature_statistics", JSON(none_as_null=True)),
    Column("created_at", UtcTime, nullable=False),
    Column("collected_at", UtcTime),  # null: the weights are kept
    Column("deleted_at", UtcTime),  # null: it was not deleted
    Column("erasure", String),  # the first that marked it; null: nothing it learned was erased
    Column("replaces", Integer),  # the version that it is a repetition of, without erased images
    Column("origin", JSON(none_as_null=True)),  # null: it was not imported from a bundle
    ForeignKeyConstraint(["model", "parent"], ["versions.model", "versions.number"]),
    ForeignKeyConstraint(
        ["dataset", "dataset_version"], ["dataset_versions.dataset", "dataset_versions.number"]
    ),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("trial", String),  # the one that runs; null: none
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    Column("model", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("from_version", Integer),
    Column("to_version", Integer),  # null: the alias was deleted
    Column("reason", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("override", Boolean, nullable=False, server_default=false()),
    ForeignKeyConstraint(["model", "to_version"], ["versions.model", "versions.number"]),
)

Index(None, versions.c.model, versions.c.digest)
Index(None, versions.c.job)
# Of the models that learned from a dataset.
Index(None, versions.c.dataset, versions.c.dataset_version)
