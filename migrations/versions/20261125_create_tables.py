"""Create the tables."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _digest(name: str, *, primary_key: bool = False, nullable: bool = True) -> sa.Column[str]:
    nullable = nullable and not primary_key
    return sa.Column(name, sa.String(64), primary_key=primary_key, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Create the tables, those that are referred to first."""
    _create_datasets()
    _create_suites()
    _create_models()
    _create_jobs()
    _create_versions()
    _create_access()


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "images",
        _digest("pixels", primary_key=True),
        _digest("artifact", nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("dhash", sa.String(16), nullable=False),
    )
    op.create_table(
        "dataset_images",
        sa.Column(
            "dataset",
            sa.String(),
            sa.ForeignKey("datasets.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        _digest("pixels", primary_key=True),
        sa.Column("slot", sa.String(), primary_key=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("file_label", sa.String(), nullable=False),
        _time("added_at"),
        sa.ForeignKeyConstraint(["pixels"], ["images.pixels"]),
    )
    op.create_index("ix_dataset_images_pixels", "dataset_images", ["pixels"])
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.String(), sa.ForeignKey("datasets.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        _digest("manifest", nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("near_duplicates", sa.Integer(), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "trained_images",
        _digest("pixels", primary_key=True),
        sa.Column("dataset", sa.String(), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset", "number"], ["dataset_versions.dataset", "dataset_versions.number"]
        ),
    )
    op.create_index("ix_trained_images_dataset_number", "trained_images", ["dataset", "number"])


def _create_suites() -> None:
    op.create_table(
        "suites",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("kind", sa.String(), nullable=False),
        _digest("manifest", nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "suite_images",
        _digest("pixels", primary_key=True),
        sa.Column("suite", sa.String(), sa.ForeignKey("suites.id"), primary_key=True),
    )
    op.create_index("ix_suite_images_suite", "suite_images", ["suite"])
    op.create_table(
        "suite_dhashes",
        sa.Column("dhash", sa.String(16), primary_key=True),
        sa.Column("suite", sa.String(), sa.ForeignKey("suites.id"), primary_key=True),
    )
    op.create_index("ix_suite_dhashes_suite", "suite_dhashes", ["suite"])
    op.create_table(
        "policies",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("parent_tolerance", sa.Float(53), nullable=False),
        sa.Column("root_tolerance", sa.Float(53), nullable=False),
        sa.Column("holdout_tolerance", sa.Float(53), nullable=False),
        sa.Column("wanted_gain", sa.Float(53), nullable=False),
        sa.Column("minimum_count", sa.Integer(), nullable=False),
        sa.Column("alpha", sa.Float(53), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        _time("created_at"),
    )


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("policy", sa.String(), sa.ForeignKey("policies.id"), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "model_suites",
        sa.Column("model", sa.String(), sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("suite", sa.String(), sa.ForeignKey("suites.id"), nullable=False),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
        ),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("model", sa.String(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("order", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("parent_version", sa.Integer()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("lease_until", sa.Float(53)),
        _digest("checkpoint"),
        sa.Column("version", sa.Integer()),
        sa.Column("retry_of", sa.String(), sa.ForeignKey("jobs.id")),
        sa.Column("result", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        _time("created_at"),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
    )
    op.create_index("ix_jobs_model_status_position", "jobs", ["model", "status", "position"])
    op.create_index("ix_jobs_status_position", "jobs", ["status", "position"])
    claimed = sa.text("status IN ('running', 'cancelling')")
    op.create_index(
        "ux_jobs_claimed",
        "jobs",
        ["model"],
        unique=True,
        sqlite_where=claimed,
        postgresql_where=claimed,
    )
    op.create_table(
        "job_events",
        sa.Column("job", sa.String(), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        _time("at"),
    )


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("model", sa.String(), sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("status", sa.String(), nullable=False),
        _digest("digest", nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("parent", sa.Integer()),
        sa.Column("job", sa.String(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("recipe", sa.JSON()),
        sa.Column("dataset", sa.String()),
        sa.Column("dataset_version", sa.Integer()),
        sa.Column("update_classes", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("verdict", sa.String()),
        _digest("report"),
        sa.Column("environment", sa.JSON(), nullable=False),
        _time("created_at"),
        sa.ForeignKeyConstraint(["model", "parent"], ["versions.model", "versions.number"]),
        sa.ForeignKeyConstraint(
            ["dataset", "dataset_version"],
            ["dataset_versions.dataset", "dataset_versions.number"],
        ),
    )
    op.create_index("ix_versions_model_digest", "versions", ["model", "digest"])
    op.create_index("ix_versions_job", "versions", ["job"])
    op.create_table(
        "aliases",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        _time("updated_at"),
        sa.ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
    )
    op.create_table(
        "alias_moves",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("alias", sa.String(), primary_key=True),
        sa.Column("revision", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("from_version", sa.Integer()),
        sa.Column("to_version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        _time("at"),
        sa.ForeignKeyConstraint(["model", "to_version"], ["versions.model", "versions.number"]),
    )


def _create_access() -> None:
    op.create_table(
        "keys",
        _digest("digest", primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        _digest("body", nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        _time("created_at"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "answers",
        _digest("question", primary_key=True),
        _digest("version", primary_key=True),
        _digest("answers", nullable=False),
    )
    op.create_table(
        "beats",
        sa.Column("worker", sa.String(), primary_key=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )


def downgrade() -> None:
    """Drop them, those that refer to others first."""
    for table in (
        "beats",
        "answers",
        "idempotency",
        "keys",
        "alias_moves",
        "aliases",
        "versions",
        "job_events",
        "jobs",
        "model_suites",
        "models",
        "policies",
        "suite_dhashes",
        "suite_images",
        "suites",
        "trained_images",
        "dataset_versions",
        "dataset_images",
        "images",
        "datasets",
    ):
        op.drop_table(table)
