"""The choice of the next job, and the conditional update that claims it.

A lane's *head* is its claimed job or, without one, its oldest queued job. Only heads can be
claimed, so the jobs of one lane run one at a time, in order of arrival. The index `ix_jobs_heads`
leads from one lane with unfinished jobs to the next and, in each, to its head: the cost of a claim
grows with neither the waiting jobs of a lane nor the ended jobs (`make bench-queue`). Among heads,
a higher priority goes first; within a lane, priority has no effect.
"""

from collections.abc import Collection
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from core.database.engine import epoch_now, read_clock
from core.database.tables import jobs
from core.jobs.claim_rows import CLAIMED, JOB_COLUMNS, UNFINISHED, to_job
from core.jobs.orders import JobType, Queue
from core.jobs.rules import Job, JobStatus
from core.values import JobId

_others = jobs.alias("others")
# Rendered into the SQL, since neither database would match a parameter to the partial index.
_QUEUED = sa.literal(JobStatus.QUEUED.value, sa.String, literal_execute=True)
_UNFINISHED: sa.BindParameter[list[str]] = sa.bindparam(
    "unfinished", [status.value for status in UNFINISHED], expanding=True, literal_execute=True
)
_IS_UNFINISHED = _others.c.status.in_(_UNFINISHED)


def is_claimable(connection: sa.Connection, queue: Queue) -> bool:
    """Return whether a job of the queue may be claimed now."""
    return connection.execute(claimable_heads(connection, [queue]).limit(1)).first() is not None


def lock_next(
    connection: sa.Connection, queues: Collection[Queue], only: JobId | None
) -> int | None:
    """Return the position of the next claimable job, or of `only`; lock it against other claims.

    Only PostgreSQL locks, and skips jobs that another claim has locked; SQLite's write
    transactions run one at a time anyway.
    """
    heads = claimable_heads(connection, queues)
    if only is not None:
        heads = heads.where(jobs.c.id == only)
    position: int | None = connection.scalar(
        heads.limit(1).with_for_update(of=jobs, skip_locked=True, key_share=True)
    )
    return position


def take(connection: sa.Connection, position: int, owner: str, lease_s: float) -> Job | None:
    """Claim the job if it is still a claimable head, counting an expired lease as a loss.

    Two jobs can be taken for the head at once on PostgreSQL, if the one that arrived first was
    committed last. The index `ux_jobs_claimed` lets only one of them be claimed.
    """
    try:
        with connection.begin_nested():
            row = connection.execute(_claim(connection, position, owner, lease_s)).first()
    except IntegrityError:
        return None
    return to_job(row) if row is not None else None


def _claim(connection: sa.Connection, position: int, owner: str, lease_s: float) -> sa.Executable:
    lost = sa.and_(abandoned(jobs), jobs.c.lease_until.is_not(None))
    return (
        sa.update(jobs)
        .where(
            jobs.c.position == position,
            _claimable(jobs),
            jobs.c.position == _head(jobs.c.lane),
        )
        .values(
            status=sa.case(
                (jobs.c.status == JobStatus.QUEUED, JobStatus.RUNNING.value), else_=jobs.c.status
            ),
            phase="claimed",
            owner=owner,
            lease_until=epoch_now() + lease_s,
            fence=jobs.c.fence + 1,
            attempt=jobs.c.attempt + 1,
            lost=jobs.c.lost + sa.case((lost, 1), else_=0),
            started_at=sa.func.coalesce(jobs.c.started_at, read_clock(connection)),
        )
        .returning(*JOB_COLUMNS)
    )


def claimable_heads(connection: sa.Connection, queues: Collection[Queue]) -> sa.Select[Any]:
    """Select positions of the jobs that may be claimed now, in the order to claim."""
    return _claimable_heads(connection.dialect.name, frozenset(queues))


# Building this statement takes several times as long as running it.
@cache
def _claimable_heads(dialect: str, queues: Collection[Queue]) -> sa.Select[Any]:
    """Select what `claimable_heads` does, for a kind of database.

    PostgreSQL may plan a join with heads as a scan of all jobs, but looks up an array by index.
    """
    lanes = _lanes()
    heads = sa.select(_head(lanes.c.lane)).select_from(lanes)
    if dialect == "postgresql":
        is_head = jobs.c.position == sa.any_(sa.func.array(heads.scalar_subquery()))
    else:
        is_head = jobs.c.position.in_(heads)
    types = [job_type for job_type in JobType if job_type.queue in queues]
    return (
        sa.select(jobs.c.position)
        .where(is_head, _claimable(jobs), jobs.c.type.in_(types))
        .order_by(jobs.c.priority.desc(), jobs.c.position)
    )


def _lanes() -> sa.CTE:
    """Select the lanes that have unfinished jobs, each as the first after the one before.

    The first row is empty and the last null: neither is a lane.
    """
    lanes = sa.select(sa.literal("", sa.Text).label("lane")).cte("lanes", recursive=True)
    following = sa.select(sa.func.min(_others.c.lane)).where(
        _others.c.lane > lanes.c.lane, _IS_UNFINISHED
    )
    return lanes.union_all(sa.select(following.scalar_subquery()).where(lanes.c.lane.is_not(None)))


def _head(lane: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    """Return the position of a lane's head."""
    return (
        sa.select(_others.c.position)
        .where(_others.c.lane == lane, _IS_UNFINISHED)
        .order_by(_others.c.status == _QUEUED, _others.c.position)
        .limit(1)
        .scalar_subquery()
    )


def abandoned(job: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that a job was claimed and has been given back or lost since."""
    expired = sa.or_(job.c.lease_until.is_(None), job.c.lease_until < epoch_now())
    return sa.and_(job.c.status.in_(CLAIMED), expired)


def _claimable(job: sa.FromClause) -> sa.ColumnElement[bool]:
    paused = sa.and_(job.c.paused_until.is_not(None), job.c.paused_until > epoch_now())
    return sa.or_(sa.and_(job.c.status == JobStatus.QUEUED, sa.not_(paused)), abandoned(job))
