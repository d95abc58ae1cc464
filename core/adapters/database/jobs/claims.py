"""The choice of the next job, and the conditional update that claims it.

A model's *head* is its claimed job or, without one, its oldest queued job. Only heads can be
claimed, so the jobs of one model run one at a time, in order of arrival. Heads are looked up by an
index, model by model: the cost of a claim grows with neither the waiting nor the ended jobs (`make
bench-queue`). Among heads, a higher priority goes first; within a model, priority has no effect.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    String,
    and_,
    bindparam,
    case,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)

from core.adapters.database.clock import epoch_now, read_clock
from core.adapters.database.jobs.rows import CLAIMED, JOB_COLUMNS, UNFINISHED, to_job
from core.adapters.database.tables.jobs import jobs
from core.adapters.database.tables.models import models
from core.domain.jobs.job import Job, JobStatus
from core.domain.jobs.order import JobType, Queue

_others = jobs.alias("others")
# Rendered into the SQL, since PostgreSQL would not match a parameter to the index `ix_jobs_heads`.
_QUEUED = literal(JobStatus.QUEUED.value, String, literal_execute=True)
_UNFINISHED: BindParameter[list[str]] = bindparam(
    "unfinished", [status.value for status in UNFINISHED], expanding=True, literal_execute=True
)


def _oldest(model: ColumnElement[str], *statuses: JobStatus) -> ColumnElement[int]:
    return (
        select(func.min(_others.c.position))
        .where(_others.c.model == model, _others.c.status.in_(statuses))
        .scalar_subquery()
    )


def _head_by_index(model: ColumnElement[str]) -> Select[Any]:
    """Select the head on PostgreSQL, in an order that makes it use `ix_jobs_heads`."""
    return (
        select(_others)
        .where(_others.c.model == model, _others.c.status.in_(_UNFINISHED))
        .order_by(_others.c.status == _QUEUED, _others.c.position)
        .limit(1)
    )


def _head(connection: Connection, model: ColumnElement[str]) -> ColumnElement[int]:
    """Return the position of a model's head."""
    if connection.dialect.name == "postgresql":
        return _head_by_index(model).with_only_columns(_others.c.position).scalar_subquery()
    return func.coalesce(_oldest(model, *CLAIMED), _oldest(model, JobStatus.QUEUED))


def abandoned(job: FromClause) -> ColumnElement[bool]:
    """Return the condition that a job was claimed and has been given back or lost since."""
    expired = or_(job.c.lease_until.is_(None), job.c.lease_until < epoch_now())
    return and_(job.c.status.in_(CLAIMED), expired)


def _claimable(job: FromClause) -> ColumnElement[bool]:
    paused = and_(job.c.paused_until.is_not(None), job.c.paused_until > epoch_now())
    return or_(and_(job.c.status == JobStatus.QUEUED, not_(paused)), abandoned(job))


def claimable_heads(connection: Connection, queues: Collection[Queue]) -> Select[Any]:
    """Select positions and models of the jobs that may be claimed now, in the order to claim.

    PostgreSQL may plan a join with heads as a scan of all jobs, but evaluates a lateral subquery
    model by model. SQLite has no lateral subqueries, and joins by index lookup anyway.
    """
    if connection.dialect.name == "postgresql":
        head: FromClause = _head_by_index(models.c.id).lateral("head")
        found = models.join(head, true())
    else:
        head = jobs
        found = models.join(jobs, jobs.c.position == _head(connection, models.c.id))
    types = [job_type for job_type in JobType if job_type.queue in queues]
    return (
        select(head.c.position, head.c.model)
        .select_from(found)
        .where(_claimable(head), head.c.type.in_(types))
        .order_by(head.c.priority.desc(), head.c.position)
    )


def is_claimable(connection: Connection, queue: Queue) -> bool:
    """Return whether a job of the queue may be claimed now."""
    return connection.execute(claimable_heads(connection, [queue]).limit(1)).first() is not None


def lock_next(connection: Connection, queues: Collection[Queue]) -> int | None:
    """Return the position of the next claimable job, and lock its model against other claims.

    Only PostgreSQL locks, and skips models that another claim has locked; SQLite's write
    transactions run one at a time anyway.
    """
    position: int | None = connection.scalar(
        claimable_heads(connection, queues)
        .limit(1)
        .with_for_update(of=models, skip_locked=True, key_share=True)
    )
    return position


def take(connection: Connection, position: int, owner: str, lease_s: float) -> Job | None:
    """Claim the job if it is still a claimable head, counting an expired lease as a loss."""
    lost = and_(abandoned(jobs), jobs.c.lease_until.is_not(None))
    head = _head(connection, jobs.c.model)
    row = connection.execute(
        update(jobs)
        .where(jobs.c.position == position, _claimable(jobs), jobs.c.position == head)
        .values(
            status=case(
                (jobs.c.status == JobStatus.QUEUED, JobStatus.RUNNING.value), else_=jobs.c.status
            ),
            phase="claimed",
            owner=owner,
            lease_until=epoch_now() + lease_s,
            fence=jobs.c.fence + 1,
            attempt=jobs.c.attempt + 1,
            lost=jobs.c.lost + case((lost, 1), else_=0),
            started_at=func.coalesce(jobs.c.started_at, read_clock(connection)),
        )
        .returning(*JOB_COLUMNS)
    ).first()
    return to_job(row) if row is not None else None
