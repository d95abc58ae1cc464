"""The tables of all rooms, on one page."""

import warnings
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TextClause,
    TypeDecorator,
    UniqueConstraint,
    false,
    literal_column,
    text,
)
from sqlalchemy.schema import SchemaItem

# The metadata, and column types.

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows by itself only if the primary key's type is exactly INTEGER.
RowNumber = BigInteger().with_variant(Integer, "sqlite")


def _table(name: str, *parts: SchemaItem) -> Table:
    """Return a table of the metadata."""
    return Table(name, metadata, *parts)


def _partial_index(name: str | None, rows: TextClause, *columns: Any, unique: bool = False) -> None:
    """Add an index that has only the rows for which a condition holds."""
    Index(name, *columns, unique=unique, sqlite_where=rows, postgresql_where=rows)


def reflect(connection: Connection) -> MetaData:
    """Return the tables that a database has, without indexes that SQLAlchemy cannot reflect."""
    found = MetaData()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based")
        found.reflect(connection)
    return found


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored and returned in UTC, even if the database has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC. Raises ValueError if it has no time zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        utc: datetime = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> datetime | None:
        """Return the stored time, aware and in UTC."""
        if value is None:
            return None
        time: datetime = value
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


# Tables of API keys, sessions, Idempotency-Keys, cached evaluation results and heartbeats.

api_keys = _table(
    "api_keys",
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
api_key_secrets = _table(
    "api_key_secrets",
    Column("digest", String(64), primary_key=True),
    Column("key", ForeignKey("api_keys.id"), nullable=False),
    Column("valid_until", UtcTime),  # null: until it is rotated
)

# Apart from the keys, so that noting a use waits for nobody who changes them.
key_uses = _table(
    "key_uses",
    Column("key", ForeignKey("api_keys.id"), primary_key=True),
    Column("at", UtcTime, nullable=False),
)

sessions = _table(  # of browsers
    "sessions",
    Column("digest", String(64), primary_key=True),  # SHA-256 of the session's id
    Column("secret", ForeignKey("api_key_secrets.digest"), nullable=False),  # that opened it
    Column("expires_at", UtcTime, nullable=False),
)

idempotency = _table(
    "idempotency",
    Column("actor", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("body", String(64), nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

answers = _table(
    "answers",
    Column("question", String(64), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("answers", String(64), nullable=False),
    Column("images", String(64)),  # artifact: their list; null: thresholds, which tell of no image
    Column(
        "release", String
    ),  # of the engine that gave them; null: of a version in fp32, or unknown
)

heartbeats = _table(
    "beats",
    Column("worker", String, primary_key=True),
    Column("facts", JSON, nullable=False),
    Column("at", Float(53), nullable=False),  # the database's clock, epoch seconds
)

Index(None, api_key_secrets.c.key)
Index(None, sessions.c.expires_at)
Index(None, idempotency.c.created_at)


# Tables of audit events and of the last one's hash.

audit_events = _table(
    "audit_events",
    Column("sequence", RowNumber, primary_key=True, autoincrement=False),
    Column("actor", String, nullable=False),
    Column("key", String),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Column("reason", String, nullable=False),
    Column("request_id", String),
    Column("at", UtcTime, nullable=False),
    Column("hash", String(64), nullable=False),
)

# One row, which a transaction locks to append: so the chain never forks.
audit_head = _table(
    "audit_head",
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", RowNumber, nullable=False),
    Column("hash", String(64), nullable=False),
)

Index(None, audit_events.c.actor, audit_events.c.sequence)
Index(None, audit_events.c.action, audit_events.c.sequence)
Index(
    "ix_audit_events_subject_prefix",
    audit_events.c.subject,
    audit_events.c.sequence,
    postgresql_ops={"subject": "text_pattern_ops"},  # byte by byte, as SQLite compares anyway
)
Index(None, audit_events.c.at, audit_events.c.sequence)


# The table of counters, which a scrape reads instead of counting history.

# `labels` is canonical JSON, so that equal labels are equal keys.
counters = _table(
    "tallies",
    Column("name", String, primary_key=True),
    Column("labels", String, primary_key=True),
    Column("value", Float(53), nullable=False),
)


# Tables of datasets, images, thumbnails and dataset versions.

datasets = _table(
    "datasets",
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("last_version", Integer, nullable=False),  # the counter that numbers versions
    Column("revision", Integer, nullable=False, server_default="0"),  # see `Datasets.revision`
    Column("created_at", UtcTime, nullable=False),
    Column("description", String, nullable=False, server_default=""),
    Column("metadata", JSON, nullable=False, server_default="{}"),
    Column("duplicates", Integer, nullable=False, server_default="0"),  # files sent again
)

images = _table(
    "images",
    Column("pixels", String(64), primary_key=True),
    Column("artifact", String(64), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size", Integer, nullable=False),
)

# In the order in which images were added. The thumbnail of an erased image is empty; its row stays,
# because it may identify a group.
thumbnails = _table(
    "thumbnails",
    Column("position", RowNumber, primary_key=True),
    Column("pixels", ForeignKey("images.pixels"), nullable=False, unique=True),
    Column("thumbnail", String(384), nullable=False),
    Column("near_duplicate_of", ForeignKey("images.pixels")),  # the oldest of its group
)

# The side of each group of near-duplicates that a version has placed, or that must stay with
# another group. It stays when the images go, because models have learned from them.
placed_groups = _table(
    "placed_groups",
    Column("oldest", String(64), primary_key=True),  # image of the group
    Column("side", String, nullable=False),
)

# One row: the secret with which groups are drawn that have no side yet, and all parts.
split_key = _table(
    "split_key",
    Column("id", Integer, primary_key=True),
    Column("key", String, nullable=False),  # empty: digests alone decide
)

# Of the images that were not erased.
HAS_THUMBNAIL = thumbnails.c.thumbnail != literal_column("''")

# `slot` is a caption's text, or empty for a class: an image has many captions but one class.
dataset_images = _table(
    "dataset_images",
    Column("dataset", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("pixels", ForeignKey("images.pixels"), primary_key=True),
    Column("slot", String, primary_key=True),
    Column("text", String, nullable=False),
    Column("file_label", String, nullable=False),
    Column("added_at", UtcTime, nullable=False),
)

dataset_versions = _table(
    "dataset_versions",
    Column("dataset", ForeignKey("datasets.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("manifest", String(64), nullable=False),
    Column("classes", JSON, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("images", Integer, nullable=False),
    Column("near_duplicates", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("replaced_by", Integer),  # null: none of its images was erased; 0: all were
)

# One row per image and dataset, with the first version that trains on it, so that freezing the same
# images again adds no rows.
trained_images = _table(
    "trained_images",
    Column("pixels", String(64), primary_key=True),
    Column("dataset", String, primary_key=True),
    Column("number", Integer, nullable=False),
    ForeignKeyConstraint(
        ["dataset", "number"], ["dataset_versions.dataset", "dataset_versions.number"]
    ),
)

Index(None, dataset_images.c.pixels)
# Of the list of a class's images.
Index(None, dataset_images.c.dataset, dataset_images.c.text, dataset_images.c.pixels)
Index(None, thumbnails.c.near_duplicate_of)
Index(None, trained_images.c.dataset, trained_images.c.number)


# Tables of erasures and the images that they have erased.

erasures = _table(
    "erasures",
    Column("id", String, primary_key=True),
    Column("images", JSON, nullable=False),
    Column("reason", String, nullable=False),
    Column("retraining", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("erased_at", UtcTime),  # null: not yet
    Column("findings", JSON(none_as_null=True)),  # null: not yet
)

# An image may have been stored in several forms. Its digests are all that is kept of it: they
# refuse it when it is sent again, and keep its bytes out of back-ups.
erased_images = _table(
    "erased_images",
    Column("pixels", String(64), primary_key=True),
    Column("artifact", String(64), primary_key=True),
    Column("erasure", ForeignKey("erasures.id"), nullable=False),
)

# What learned from them or teaches them, by digest: weights of versions, and manifests.
marks = _table(
    "marks",
    Column("digest", String(64), primary_key=True),
    Column("erasure", ForeignKey("erasures.id"), nullable=False),
)

Index(None, erased_images.c.artifact)


# Table of exports.

# Whoever writes a row has locked its version, and whoever deletes a version deletes its rows.
exports = _table(
    "exports",
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("format", String, primary_key=True),
    Column("artifact", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("check", JSON, nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)


# Table of engines.

# A check is about weights, whichever versions have them: it is stored before the version's row, and
# deleted by a collection once no version has them.
engine_checks = _table(
    "engine_checks",
    Column("weights", String(64), primary_key=True),
    Column("architecture", String(64), nullable=False),
    Column("precision", String, nullable=False),
    Column("graphs", String(64)),
    Column("engines", JSON, nullable=False),
    Column("problem", String),
    Column("checked_at", UtcTime, nullable=False),
)
Index(None, engine_checks.c.architecture)


# Tables of jobs, their metadata and their events.

# `position` is the order of arrival, independent of the senders' clocks. `owner` and `lease_until`
# (epoch seconds by the database's clock) belong to a claimed job: a null lease was given back, an
# expired one was lost. A queued job cannot be claimed before `paused_until`, by the same clock.
jobs = _table(
    "jobs",
    Column("position", RowNumber, primary_key=True),
    Column("id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("model", ForeignKey("models.id")),
    Column("order", JSON, nullable=False),
    Column("status", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("parent_version", Integer),
    Column("precision", String),  # null until an update's first claim
    Column("beside", JSON(none_as_null=True)),  # null until an update's first claim
    Column("suites", JSON(none_as_null=True)),  # null: the job judges nothing
    Column("policy", String),  # likewise
    Column("attempt", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("pauses", Integer, nullable=False, server_default="0"),
    Column("paused_until", Float(53)),
    Column("fence", Integer, nullable=False),
    Column("owner", String),
    Column("lease_until", Float(53)),
    Column("checkpoint", String(64)),
    Column("version", Integer),  # of an update alone; `versions.job` says who made any version
    Column("retry_of", ForeignKey("jobs.id")),
    Column("ordered_by", String),  # a key's id or a name
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("metadata", JSON, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),  # 0 to 9, 9 first
    Column("events", Integer, nullable=False),  # the counter that numbers events
    Column("trace", String),  # null: ordered without traces
    Column("lane", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    UniqueConstraint("id"),
)

# Of lists: what each job's metadata holds. A trigger adds the rows, and they go with their job.
job_metadata = _table(
    "job_metadata",
    Column("job", ForeignKey("jobs.position", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

job_events = _table(
    "job_events",
    Column("job", ForeignKey("jobs.id"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("data", JSON, nullable=False),
    Column("at", UtcTime, nullable=False),
)

Index(None, jobs.c.model, jobs.c.status, jobs.c.position)
Index(None, jobs.c.status, jobs.c.position)
# Of lists: a filter, then the order (`core.jobs.rows`).
Index(None, jobs.c.model, jobs.c.position)
Index(None, jobs.c.type, jobs.c.position)
Index(None, jobs.c.created_at, jobs.c.position)
Index(None, job_metadata.c.key, job_metadata.c.value, job_metadata.c.job)
Index(None, job_metadata.c.key, job_metadata.c.job)

# The deletion of a job looks for its retries, which refer to it.
RETRIES = text("retry_of IS NOT NULL")
_partial_index(None, RETRIES, jobs.c.retry_of)

# Counted before each order (`Jobs.waiting`).
WAITING = text("status = 'queued'")
_partial_index("ix_jobs_waiting", WAITING, jobs.c.ordered_by)


UNFINISHED = text("status IN ('queued', 'running', 'cancelling')")
# A lane's first entry is the job that may be claimed next (`core.jobs.claims`).
_partial_index(
    "ix_jobs_heads", UNFINISHED, jobs.c.lane, text("(status = 'queued')"), jobs.c.position
)

CLAIMED_JOB = text("status IN ('running', 'cancelling')")

# At most one claimed job per lane, even if two claims run at once.
_partial_index("ux_jobs_claimed", CLAIMED_JOB, jobs.c.lane, unique=True)


# Tables of models, their versions and their aliases.

models = _table(
    "models",
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("policy", ForeignKey("policies.id"), nullable=False),
    Column("last_version", Integer, nullable=False),  # the counter that numbers versions
    Column("sized_recipe", JSON(none_as_null=True)),  # null: the root is not imported
    Column("own_recipe", JSON, nullable=False, server_default="{}"),
    Column("created_at", UtcTime, nullable=False),
)

model_suites = _table(
    "model_suites",
    Column("model", ForeignKey("models.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("suite", ForeignKey("suites.id"), nullable=False),
)

versions = _table(
    "versions",
    Column("model", ForeignKey("models.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("status", String, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("precision", String, nullable=False),
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
    Column("environments", JSON, nullable=False),
    Column("captions", JSON(none_as_null=True)),  # {"dataset", "version"}, taught beside classes
    Column("reference", JSON(none_as_null=True)),  # {"dataset", "version"} of a reference set
    Column("notes", JSON, nullable=False),
    Column("feature_statistics", JSON, nullable=False),  # class names to artifacts
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

# What each verdict of a version covers: see `core/registry/verdicts.py`.
verdicts = _table(
    "verdicts",
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("beside", Integer, primary_key=True, autoincrement=False),
    Column("policy", ForeignKey("policies.id"), primary_key=True),
    Column("asked_digest", String(64), primary_key=True),
    Column("suites", JSON, nullable=False),  # ids
    Column("holdouts", JSON, nullable=False),  # ids of suites
    Column("updates", JSON, nullable=False),  # numbers of versions
    Column("settled", JSON, nullable=False),  # numbers of versions
    Column("labels", JSON, nullable=False),  # the looks at labels of unlabelled suites
    Column("verdict", String, nullable=False),
    Column("report", String(64), nullable=False),
    Column("images", Integer, nullable=False),
    Column("job", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
)

# The versions that suites have judged, by what they were made of, and what blames have asked about
# suites: tries that count wherever the same weights are taught. They stay when their model is
# deleted.
tries = _table(
    "tries",
    Column("model", String, primary_key=True),
    Column("version", String(64), primary_key=True),  # digest
    Column("suite", String, primary_key=True),
    Column("parent", String(64), nullable=False),  # digest
    Column("root", String(64), nullable=False, index=True),  # digest
    Column("at", UtcTime, nullable=False),  # of the first verdict
)
Index(None, tries.c.version)
Index(None, tries.c.parent)

aliases = _table(
    "aliases",
    Column("model", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("trial", String),  # the one that runs; null: none
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"]),
)

alias_moves = _table(
    "alias_moves",
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
    Column("verdict", String),  # that decided; null: none had to, or none was there
    Column("policy", String),  # under which it decided
    ForeignKeyConstraint(["model", "to_version"], ["versions.model", "versions.number"]),
)

Index(None, versions.c.digest, versions.c.model)
Index(None, versions.c.job)
# Of the models that learned from a dataset.
Index(None, versions.c.dataset, versions.c.dataset_version)


# Tables of suites and gate policies, by which versions are judged.

suites = _table(
    "suites",
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),  # of all editions
    Column("kind", String, nullable=False),
    Column("manifest", String(64), nullable=False),
    Column("source", String(64), nullable=False),  # the dataset version's that its images are from
    Column("classes", JSON, nullable=False),
    Column("images", Integer, nullable=False),
    Column("prompt", String, nullable=False),
    Column("mirror", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("grown_into", String),  # the next edition; null: this is the newest
    Column("model", String),  # whose holdout the images join; null: it is a suite of its own
    Column("version", Integer),  # that holds them out, with `model`
    Column("retired_at", UtcTime),  # null: it may judge models
)

suite_images = _table(
    "suite_images",
    Column("pixels", String(64), primary_key=True),
    Column("suite", ForeignKey("suites.id"), primary_key=True),
)

# Labels of the images of unlabelled suites, each given once.
suite_labels = _table(
    "suite_labels",
    Column("suite", ForeignKey("suites.id"), primary_key=True),  # the first edition
    Column("pixels", String(64), primary_key=True),
    Column("class_name", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("at", UtcTime, nullable=False),
)

policies = _table(
    "policies",
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("rules", JSON, nullable=False),  # the fields of a policy without columns of their own
    Column("reason", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

_NEWEST = suites.c.grown_into.is_(None)
Index(None, suites.c.name, unique=True, sqlite_where=_NEWEST, postgresql_where=_NEWEST)
Index(None, suites.c.model)
Index(None, suite_images.c.suite)
Index(None, suite_labels.c.pixels)


# Tables of trials, their counts, and the predictions made during them.

# An alias names the trial that runs, if there is one: see `aliases`.
trials = _table(
    "trials",
    Column("id", String, primary_key=True),
    Column("model", ForeignKey("models.id"), nullable=False),
    Column("alias", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("current", Integer, nullable=False),
    Column("candidate", Integer, nullable=False),
    Column("share", Float(53)),
    Column("reason", String, nullable=False),
    Column("started_by", String, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_by", String),
    Column("ended_at", UtcTime),
    Column("end", String),
)

trial_counts = _table(
    "trial_counts",
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

trial_predictions = _table(
    "trial_predictions",
    Column("id", String, primary_key=True),
    Column("trial", ForeignKey("trials.id"), nullable=False),
    Column("mode", String, nullable=False),
    Column("arm", String, nullable=False),
    Column("answer", String, nullable=False),
    Column("shadowed", String),  # null: the candidate of a shadow has not been asked yet
    Column("shadow_answer", String),
    Column("label", String),
    Column("at", UtcTime, nullable=False),
    Column("caller", String),  # null: of a shadow
    Column("turn", String),  # to be labelled; null: no disagreement, or it has a label
    Column("same_caller", Boolean, nullable=False, server_default=false()),
)

# The callers of a canary of which a label counts.
trial_callers = _table(
    "trial_callers",
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("caller", String, primary_key=True),
)

# Images about which the versions of a shadow disagree; the images are kept for their trial alone.
trial_samples = _table(
    "trial_samples",
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("pixels", String(64), primary_key=True),
    Column("artifact", String(64), nullable=False),
    Column("prediction", String, nullable=False),
    Column("answer", String, nullable=False),
    Column("shadow_answer", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("size", BigInteger, nullable=False, server_default="0"),
)

# What the labels of a trial said, at growing numbers of labels.
trial_course = _table(
    "trial_course",
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("labels", BigInteger, primary_key=True, autoincrement=False),
    Column("estimate", Float(53), nullable=False),
    Column("lower", Float(53), nullable=False),
    Column("upper", Float(53), nullable=False),
    Column("at", UtcTime, nullable=False),
)

Index(None, trials.c.model, trials.c.alias, trials.c.id)
Index(None, trial_predictions.c.trial, trial_predictions.c.id)
Index(None, trial_predictions.c.trial, trial_predictions.c.turn)
Index(None, trial_predictions.c.at)
Index(None, trial_samples.c.pixels)


# Table of resumable uploads.

uploads = _table(
    "uploads",
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("parts", JSON, nullable=False),  # artifacts, in order
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
)
Index(None, uploads.c.owner)


# Tables of stored vectors and of reports on old indexes.

# Whoever writes a row has locked its dataset and its version, and whoever deletes one of these, or
# erases an image, deletes the rows.
vectors = _table(
    "vectors",
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
index_reports = _table(
    "index_reports",
    Column("model", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("baseline", Integer, primary_key=True, autoincrement=False),
    Column("report", String(64), nullable=False),
    Column("bridge", String(64), nullable=False),
    Column("sources", JSON, nullable=False),
    Column("job", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)


# Tables of indexes, whose vectors are in stores of their owners. Whoever writes a row about a
# version has locked that version, as who moves an alias to it has.

indexes = _table(
    "indexes",
    Column("id", String, primary_key=True),
    Column("model", ForeignKey("models.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("store", String, nullable=False),
    Column("dataset", String),
    Column("allowed_loss", Float(53), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("model", "name"),
)

index_versions = _table(
    "index_versions",
    Column("index", ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", String, nullable=False),
    Column("wanted", Integer),  # revision of the alias that it waits for
    Column("method", String),
    Column("baseline", Integer),
    Column("loss", Float(53)),
    Column("rows", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
)


# Tables of webhooks and of the outbox: their deliveries.

webhooks = _table(
    "webhooks",
    Column("id", String, primary_key=True),
    Column("url", String, nullable=False),
    Column("events", JSON, nullable=False),
    Column("models", JSON(none_as_null=True)),  # null: all
    Column("description", String, nullable=False),
    Column("secret", String, nullable=False),  # a signature needs the secret itself
    Column("former_secret", String),
    Column("former_until", UtcTime),
    Column("paused", Boolean, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

# `position` is the order in which the events of one object happened. `lease_until` (epoch seconds
# by the database's clock) belongs to a claimed delivery; an expired one was lost.
deliveries = _table(
    "webhook_deliveries",
    Column("position", RowNumber, primary_key=True),
    Column("id", String, nullable=False),
    Column("webhook", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", String, nullable=False),
    Column("type", String, nullable=False),
    Column("object", String, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_until", Float(53)),
    Column("response_status", Integer),
    Column("error", JSON(none_as_null=True)),
    Column("created_at", UtcTime, nullable=False),
    Column("attempted_at", UtcTime),
    Column("next_attempt_at", UtcTime),
    UniqueConstraint("id"),
)

PENDING = text("status = 'pending'")
_partial_index("ix_webhook_deliveries_due", PENDING, deliveries.c.next_attempt_at)
_partial_index(
    "ix_webhook_deliveries_order",
    PENDING,
    deliveries.c.webhook,
    deliveries.c.object,
    deliveries.c.position,
)

CLAIMED_DELIVERY = text("lease_until IS NOT NULL")

# At most one claimed delivery per webhook, even if two claims run at once.
_partial_index("ux_webhook_deliveries_claimed", CLAIMED_DELIVERY, deliveries.c.webhook, unique=True)
Index(None, deliveries.c.webhook, deliveries.c.position)
Index(None, deliveries.c.created_at)
