"""Create the tables."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "b7d41e9a3c60"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only if the primary key's type is exactly INTEGER.
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

KEEP_JOB_METADATA = {
    "sqlite": (
        """CREATE TRIGGER keep_job_metadata AFTER INSERT ON jobs BEGIN
    INSERT INTO job_metadata (job, key, value)
    SELECT NEW.position, key, value FROM json_each(NEW.metadata); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION keep_job_metadata() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO job_metadata (job, key, value)
    SELECT NEW.position, key, value FROM json_each_text(NEW.metadata);
    RETURN NULL; END $$""",
        """CREATE TRIGGER keep_job_metadata AFTER INSERT ON jobs
    FOR EACH ROW EXECUTE FUNCTION keep_job_metadata()""",
    ),
}


def upgrade() -> None:
    """Create the tables, those that others refer to first."""
    _create_datasets()
    _create_suites()
    _create_models()
    _create_jobs()
    _create_versions()
    _create_trials()
    _create_erasures()
    _create_access()
    _create_webhooks()


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False, server_default="0"),
        _time("created_at"),
        sa.Column("description", sa.String(), nullable=False, server_default=""),
        sa.Column("metadata", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("duplicates", sa.Integer(), nullable=False, server_default="0"),
    )
    op.create_table(
        "images",
        sa.Column("pixels", sa.String(64), primary_key=True),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
    )
    op.create_table(
        "thumbnails",
        sa.Column("position", ROW_NUMBER, primary_key=True),
        sa.Column(
            "pixels", sa.String(64), sa.ForeignKey("images.pixels"), nullable=False, unique=True
        ),
        sa.Column("thumbnail", sa.String(384), nullable=False),
        sa.Column("near_duplicate_of", sa.String(64), sa.ForeignKey("images.pixels")),
    )
    op.create_index("ix_thumbnails_near_duplicate_of", "thumbnails", ["near_duplicate_of"])
    op.create_table(
        "placed_groups",
        sa.Column("oldest", sa.String(64), primary_key=True),
        sa.Column("side", sa.String(), nullable=False),
    )
    op.create_table(
        "split_key",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("key", sa.String(), nullable=False),
    )
    op.create_table(
        "dataset_images",
        sa.Column(
            "dataset",
            sa.String(),
            sa.ForeignKey("datasets.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("pixels", sa.String(64), sa.ForeignKey("images.pixels"), primary_key=True),
        sa.Column("slot", sa.String(), primary_key=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("file_label", sa.String(), nullable=False),
        _time("added_at"),
    )
    op.create_index(
        "ix_dataset_images_dataset_text_pixels", "dataset_images", ["dataset", "text", "pixels"]
    )
    op.create_index("ix_dataset_images_pixels", "dataset_images", ["pixels"])
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.String(), sa.ForeignKey("datasets.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("manifest", sa.String(64), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("near_duplicates", sa.Integer(), nullable=False),
        _time("created_at"),
        sa.Column("replaced_by", sa.Integer()),
    )
    op.create_table(
        "trained_images",
        sa.Column("pixels", sa.String(64), primary_key=True),
        sa.Column("dataset", sa.String(), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset", "number"], ["dataset_versions.dataset", "dataset_versions.number"]
        ),
    )
    op.create_index("ix_trained_images_dataset_number", "trained_images", ["dataset", "number"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        _time("created_at"),
        _time("expires_at"),
    )
    op.create_index("ix_uploads_owner", "uploads", ["owner"])


def _create_suites() -> None:
    op.create_table(
        "suites",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("manifest", sa.String(64), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("mirror", sa.Boolean(), nullable=False),
        _time("created_at"),
        sa.Column("grown_into", sa.String()),
        sa.Column("model", sa.String()),
        sa.Column("version", sa.Integer()),
        _time("retired_at", nullable=True),
    )
    op.create_index("ix_suites_model", "suites", ["model"])
    newest = sa.text("grown_into IS NULL")
    op.create_index(
        "ix_suites_name",
        "suites",
        ["name"],
        unique=True,
        sqlite_where=newest,
        postgresql_where=newest,
    )
    op.create_table(
        "suite_images",
        sa.Column("pixels", sa.String(64), primary_key=True),
        sa.Column("suite", sa.String(), sa.ForeignKey("suites.id"), primary_key=True),
    )
    op.create_index("ix_suite_images_suite", "suite_images", ["suite"])
    op.create_table(
        "suite_labels",
        sa.Column("suite", sa.String(), sa.ForeignKey("suites.id"), primary_key=True),
        sa.Column("pixels", sa.String(64), primary_key=True),
        sa.Column("class_name", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        _time("at"),
    )
    op.create_index("ix_suite_labels_pixels", "suite_labels", ["pixels"])
    op.create_table(
        "policies",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "answers",
        sa.Column("question", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("answers", sa.String(64), nullable=False),
        sa.Column("images", sa.String(64)),
        sa.Column("release", sa.String()),
    )


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("policy", sa.String(), sa.ForeignKey("policies.id"), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("sized_recipe", sa.JSON()),
        sa.Column("own_recipe", sa.JSON(), nullable=False, server_default="{}"),
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
        sa.Column("position", ROW_NUMBER, primary_key=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("model", sa.String(), sa.ForeignKey("models.id")),
        sa.Column("order", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("parent_version", sa.Integer()),
        sa.Column("precision", sa.String()),
        sa.Column("beside", sa.JSON()),
        sa.Column("suites", sa.JSON()),
        sa.Column("policy", sa.String()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("pauses", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("paused_until", sa.Float(53)),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("lease_until", sa.Float(53)),
        sa.Column("checkpoint", sa.String(64)),
        sa.Column("version", sa.Integer()),
        sa.Column("retry_of", sa.String(), sa.ForeignKey("jobs.id")),
        sa.Column("ordered_by", sa.String()),
        sa.Column("result", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("trace", sa.String()),
        sa.Column("lane", sa.String(), nullable=False),
        _time("created_at"),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
    )
    op.create_index("ix_jobs_created_at_position", "jobs", ["created_at", "position"])
    _index_some(
        "ix_jobs_heads",
        "jobs",
        ["lane", sa.text("(status = 'queued')"), "position"],
        where="status IN ('queued', 'running', 'cancelling')",
    )
    op.create_index("ix_jobs_model_position", "jobs", ["model", "position"])
    op.create_index("ix_jobs_model_status_position", "jobs", ["model", "status", "position"])
    _index_some("ix_jobs_retry_of", "jobs", ["retry_of"], where="retry_of IS NOT NULL")
    op.create_index("ix_jobs_status_position", "jobs", ["status", "position"])
    op.create_index("ix_jobs_type_position", "jobs", ["type", "position"])
    _index_some("ix_jobs_waiting", "jobs", ["ordered_by"], where="status = 'queued'")
    _index_some(
        "ux_jobs_claimed",
        "jobs",
        ["lane"],
        unique=True,
        where="status IN ('running', 'cancelling')",
    )
    op.create_table(
        "job_metadata",
        sa.Column(
            "job", ROW_NUMBER, sa.ForeignKey("jobs.position", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
    op.create_index("ix_job_metadata_key_job", "job_metadata", ["key", "job"])
    op.create_index("ix_job_metadata_key_value_job", "job_metadata", ["key", "value", "job"])
    op.create_table(
        "job_events",
        sa.Column("job", sa.String(), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        _time("at"),
    )
    op.create_table(
        "beats",
        sa.Column("worker", sa.String(), primary_key=True),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.String(), primary_key=True),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("body", sa.String(64), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        _time("created_at"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "tallies",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("labels", sa.String(), primary_key=True),
        sa.Column("value", sa.Float(53), nullable=False),
    )
    for statement in KEEP_JOB_METADATA[op.get_context().dialect.name]:
        op.execute(statement)


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("model", sa.String(), sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("precision", sa.String(), nullable=False),
        sa.Column("parent", sa.Integer()),
        sa.Column("job", sa.String(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("recipe", sa.JSON()),
        sa.Column("dataset", sa.String()),
        sa.Column("dataset_version", sa.Integer()),
        sa.Column("update_classes", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("verdict", sa.String()),
        sa.Column("report", sa.String(64)),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("environments", sa.JSON(), nullable=False),
        sa.Column("captions", sa.JSON()),
        sa.Column("reference", sa.JSON()),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("feature_statistics", sa.JSON(), nullable=False),
        _time("created_at"),
        _time("collected_at", nullable=True),
        _time("deleted_at", nullable=True),
        sa.Column("erasure", sa.String()),
        sa.Column("replaces", sa.Integer()),
        sa.Column("origin", sa.JSON()),
        sa.ForeignKeyConstraint(["model", "parent"], ["versions.model", "versions.number"]),
        sa.ForeignKeyConstraint(
            ["dataset", "dataset_version"], ["dataset_versions.dataset", "dataset_versions.number"]
        ),
    )
    op.create_index(
        "ix_versions_dataset_dataset_version", "versions", ["dataset", "dataset_version"]
    )
    op.create_index("ix_versions_job", "versions", ["job"])
    op.create_index("ix_versions_digest_model", "versions", ["digest", "model"])
    op.create_table(
        "verdicts",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("beside", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("policy", sa.String(), sa.ForeignKey("policies.id"), primary_key=True),
        sa.Column("asked_digest", sa.String(64), primary_key=True),
        sa.Column("suites", sa.JSON(), nullable=False),
        sa.Column("holdouts", sa.JSON(), nullable=False),
        sa.Column("updates", sa.JSON(), nullable=False),
        sa.Column("settled", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("report", sa.String(64), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        _time("at"),
        sa.ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
    )
    op.create_table(
        "tries",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("suite", sa.String(), primary_key=True),
        sa.Column("parent", sa.String(64), nullable=False),
        sa.Column("root", sa.String(64), nullable=False, index=True),
        _time("at"),
    )
    op.create_index(None, "tries", ["version"])
    op.create_index(None, "tries", ["parent"])
    op.create_table(
        "aliases",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        _time("updated_at"),
        sa.Column("trial", sa.String()),
        sa.ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
    )
    op.create_table(
        "alias_moves",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("alias", sa.String(), primary_key=True),
        sa.Column("revision", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("from_version", sa.Integer()),
        sa.Column("to_version", sa.Integer()),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        _time("at"),
        sa.Column("override", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("verdict", sa.String()),
        sa.Column("policy", sa.String()),
        sa.ForeignKeyConstraint(["model", "to_version"], ["versions.model", "versions.number"]),
    )
    op.create_table(
        "exports",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("format", sa.String(), primary_key=True),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("check", sa.JSON(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "engine_checks",
        sa.Column("weights", sa.String(64), primary_key=True),
        sa.Column("architecture", sa.String(64), nullable=False),
        sa.Column("precision", sa.String(), nullable=False),
        sa.Column("graphs", sa.String(64)),
        sa.Column("engines", sa.JSON(), nullable=False),
        sa.Column("problem", sa.String()),
        _time("checked_at"),
    )
    op.create_index("ix_engine_checks_architecture", "engine_checks", ["architecture"])
    op.create_table(
        "vectors",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("dataset", sa.String(), primary_key=True),
        sa.Column("dataset_version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.String(64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        _time("created_at"),
    )
    op.create_index("ix_vectors_dataset", "vectors", ["dataset"])
    op.create_table(
        "indexes",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("model", sa.String(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("dataset", sa.String()),
        sa.Column("allowed_loss", sa.Float(53), nullable=False),
        _time("created_at"),
        sa.UniqueConstraint("model", "name"),
    )
    op.create_table(
        "index_versions",
        sa.Column(
            "index",
            sa.String(),
            sa.ForeignKey("indexes.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("wanted", sa.Integer()),
        sa.Column("method", sa.String()),
        sa.Column("baseline", sa.Integer()),
        sa.Column("loss", sa.Float(53)),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        _time("updated_at"),
    )
    op.create_table(
        "index_reports",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("baseline", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("report", sa.String(64), nullable=False),
        sa.Column("bridge", sa.String(64), nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        _time("created_at"),
    )


def _create_trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("model", sa.String(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("current", sa.Integer(), nullable=False),
        sa.Column("candidate", sa.Integer(), nullable=False),
        sa.Column("share", sa.Float(53)),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("started_by", sa.String(), nullable=False),
        _time("started_at"),
        sa.Column("ended_by", sa.String()),
        _time("ended_at", nullable=True),
        sa.Column("end", sa.String()),
    )
    op.create_index("ix_trials_model_alias_id", "trials", ["model", "alias", "id"])
    op.create_table(
        "trial_counts",
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "trial_predictions",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("shadowed", sa.String()),
        sa.Column("shadow_answer", sa.String()),
        sa.Column("label", sa.String()),
        _time("at"),
        sa.Column("caller", sa.String()),
        sa.Column("turn", sa.String()),
        sa.Column("same_caller", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index("ix_trial_predictions_at", "trial_predictions", ["at"])
    op.create_index("ix_trial_predictions_trial_id", "trial_predictions", ["trial", "id"])
    op.create_index("ix_trial_predictions_trial_turn", "trial_predictions", ["trial", "turn"])
    op.create_table(
        "trial_callers",
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("caller", sa.String(), primary_key=True),
    )
    op.create_table(
        "trial_samples",
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("pixels", sa.String(64), primary_key=True),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("prediction", sa.String(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("shadow_answer", sa.String(), nullable=False),
        _time("at"),
        sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.create_index("ix_trial_samples_pixels", "trial_samples", ["pixels"])
    op.create_table(
        "trial_course",
        sa.Column("trial", sa.String(), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("labels", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("estimate", sa.Float(53), nullable=False),
        sa.Column("lower", sa.Float(53), nullable=False),
        sa.Column("upper", sa.Float(53), nullable=False),
        _time("at"),
    )


def _create_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("images", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("retraining", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        _time("created_at"),
        _time("erased_at", nullable=True),
        sa.Column("findings", sa.JSON()),
    )
    op.create_table(
        "erased_images",
        sa.Column("pixels", sa.String(64), primary_key=True),
        sa.Column("artifact", sa.String(64), primary_key=True),
        sa.Column("erasure", sa.String(), sa.ForeignKey("erasures.id"), nullable=False),
    )
    op.create_index("ix_erased_images_artifact", "erased_images", ["artifact"])
    op.create_table(
        "marks",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("erasure", sa.String(), sa.ForeignKey("erasures.id"), nullable=False),
    )


def _create_access() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("models", sa.JSON()),
        sa.Column("prefix", sa.String()),
        _time("created_at"),
        _time("expires_at", nullable=True),
        _time("rotated_at", nullable=True),
        _time("revoked_at", nullable=True),
    )
    op.create_table(
        "api_key_secrets",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(), sa.ForeignKey("api_keys.id"), nullable=False),
        _time("valid_until", nullable=True),
    )
    op.create_index("ix_api_key_secrets_key", "api_key_secrets", ["key"])
    op.create_table(
        "key_uses",
        sa.Column("key", sa.String(), sa.ForeignKey("api_keys.id"), primary_key=True),
        _time("at"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("secret", sa.String(64), sa.ForeignKey("api_key_secrets.digest"), nullable=False),
        _time("expires_at"),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "audit_events",
        sa.Column("sequence", ROW_NUMBER, primary_key=True, autoincrement=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("key", sa.String()),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("before", sa.JSON()),
        sa.Column("after", sa.JSON()),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("request_id", sa.String()),
        _time("at"),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index("ix_audit_events_action_sequence", "audit_events", ["action", "sequence"])
    op.create_index("ix_audit_events_actor_sequence", "audit_events", ["actor", "sequence"])
    op.create_index("ix_audit_events_at_sequence", "audit_events", ["at", "sequence"])
    op.create_index(
        "ix_audit_events_subject_prefix",
        "audit_events",
        ["subject", "sequence"],
        postgresql_ops={"subject": "text_pattern_ops"},
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("sequence", ROW_NUMBER, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("models", sa.JSON()),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("former_secret", sa.String()),
        _time("former_until", nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        _time("created_at"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("position", ROW_NUMBER, primary_key=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column(
            "webhook", sa.String(), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float(53)),
        sa.Column("response_status", sa.Integer()),
        sa.Column("error", sa.JSON()),
        _time("created_at"),
        _time("attempted_at", nullable=True),
        _time("next_attempt_at", nullable=True),
    )
    op.create_index("ix_webhook_deliveries_created_at", "webhook_deliveries", ["created_at"])
    _index_some(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["next_attempt_at"],
        where="status = 'pending'",
    )
    _index_some(
        "ix_webhook_deliveries_order",
        "webhook_deliveries",
        ["webhook", "object", "position"],
        where="status = 'pending'",
    )
    op.create_index(
        "ix_webhook_deliveries_webhook_position", "webhook_deliveries", ["webhook", "position"]
    )
    _index_some(
        "ux_webhook_deliveries_claimed",
        "webhook_deliveries",
        ["webhook"],
        unique=True,
        where="lease_until IS NOT NULL",
    )


def downgrade() -> None:
    """Refuse."""
    raise SystemExit("There is no earlier schema: restore a back-up into an empty database.")


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _index_some(
    name: str, table: str, columns: Sequence[str | sa.TextClause], where: str, **options: Any
) -> None:
    """Index the rows of a table that meet a condition."""
    rows = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=rows, postgresql_where=rows, **options)
