"""Tables of jobs, their metadata and their events."""

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    func,
    text,
)

from core.adapters.database.tables.schema import RowNumber, UtcTime, metadata

# `position` is the order of arrival, independent of the senders' clocks. `owner` and `lease_until`
# (epoch seconds by the database's clock) belong to a claimed job: a null lease was given back, an
# expired one was lost. A queued job cannot be claimed before `paused_until`, by the same clock.
jobs = Table(
    "jobs",
    metadata,
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
    Column("suites", JSON(none_as_null=True)),  # null: an import, or ordered by an early release
    Column("policy", String),  # likewise
    Column("attempt", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("pauses", Integer, nullable=False, server_default="0"),
    Column("paused_until", Float(53)),
    Column("fence", Integer, nullable=False),
    Column("owner", String),
    Column("lease_until", Float(53)),
    Column("checkpoint", String(64)),
    Column("version", Integer),
    Column("retry_of", ForeignKey("jobs.id")),
    Column("ordered_by", String),  # a key's id or a name; null: by an earlier release
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("metadata", JSON, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),  # 0 to 9, 9 first
    Column("events", Integer, nullable=False),  # the counter that numbers events
    Column("trace", String),  # null: ordered without traces
    Column("lane", String),  # null: the model's, as an earlier release writes it
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    UniqueConstraint("id"),
)

# Of lists: what each job's metadata holds, in rows that triggers of the database add and delete.
job_metadata = Table(
    "job_metadata",
    metadata,
    Column("job", ForeignKey("jobs.position", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job", ForeignKey("jobs.id"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("data", JSON, nullable=False),
    Column("at", UtcTime, nullable=False),
)

Index(None, jobs.c.model, jobs.c.status, jobs.c.position)
Index(None, jobs.c.status, jobs.c.position)
# Of lists: a filter, then the order (`reads.py`).
Index(None, jobs.c.model, jobs.c.position)
Index(None, jobs.c.type, jobs.c.position)
Index(None, jobs.c.created_at, jobs.c.position)
Index(None, job_metadata.c.key, job_metadata.c.value, job_metadata.c.job)
Index(None, job_metadata.c.key, job_metadata.c.job)

# The deletion of a job looks for its retries, which refer to it.
RETRIES = text("retry_of IS NOT NULL")
Index(None, jobs.c.retry_of, sqlite_where=RETRIES, postgresql_where=RETRIES)


# Counted before each order (`SqlJobs.waiting`).
WAITING = text("status = 'queued'")
Index("ix_jobs_waiting", jobs.c.ordered_by, sqlite_where=WAITING, postgresql_where=WAITING)


def lane_of(job: FromClause) -> ColumnElement[str]:
    """Return the lane that a job waits in."""
    return func.coalesce(job.c.lane, job.c.model)


UNFINISHED = text("status IN ('queued', 'running', 'cancelling')")
# A lane's first entry is the job that may be claimed next (`claims.py`).
Index(
    "ix_jobs_heads",
    lane_of(jobs),
    text("(status = 'queued')"),
    jobs.c.position,
    sqlite_where=UNFINISHED,
    postgresql_where=UNFINISHED,
)

CLAIMED = text("status IN ('running', 'cancelling')")
# At most one claimed job per lane, even if two claims run at once.
Index("ux_jobs_claimed", lane_of(jobs), unique=True, sqlite_where=CLAIMED, postgresql_where=CLAIMED)
