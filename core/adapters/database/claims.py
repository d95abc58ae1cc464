"""Which job may be claimed, and the conditional update that claims it.

A model's *head* is its claimed job or, without one, its oldest queued job. Only heads can be
claimed, so the jobs of one model run one after another in the order they came. Heads are
found by two index look-ups a model: the cost does not grow with the number of jobs. Among
heads a higher priority goes first; within a model it changes nothing.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    case,
    func,
    or_,
    select,
    update,
)

from core.adapters.database.clock import epoch_now, read_clock
from core.adapters.database.job_rows import CLAIMED, JOB_COLUMNS, to_job
from core.adapters.database.tables.jobs import jobs
from core.adapters.database.tables.models import models
from core.domain.update import Job, JobStatus, JobType, Queue

_others = jobs.alias("others")


def _oldest(model: ColumnElement[str], *statuses: JobStatus) -> ScalarSelect[Any]:
    return (
        select(func.min(_others.c.position))
        .where(_others.c.model == model, _others.c.status.in_(statuses))
        .scalar_subquery()
    )


def _head(model: ColumnElement[str]) -> ColumnElement[int]:
    return func.coalesce(_oldest(model, *CLAIMED), _oldest(model, JobStatus.QUEUED))


def _abandoned() -> ColumnElement[bool]:
    """Claimed once, and given back or lost since."""
    expired = or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < epoch_now())
    return and_(jobs.c.status.in_(CLAIMED), expired)


def _claimable() -> ColumnElement[bool]:
    return or_(jobs.c.status == JobStatus.QUEUED, _abandoned())


def claimable_heads(queues: Collection[Queue] = tuple(Queue)) -> Select[Any]:
    """The positions and models of the jobs that may be claimed now, in the order to claim."""
    types = [job_type for job_type in JobType if job_type.queue in queues]
    return (
        select(jobs.c.position, jobs.c.model)
        .select_from(models)
        .join(jobs, jobs.c.position == _head(models.c.id))
        .where(_claimable(), jobs.c.type.in_(types))
        .order_by(jobs.c.priority.desc(), jobs.c.position)
    )


def lock_next(connection: Connection, queues: Collection[Queue]) -> int | None:
    """The position of the next claimable job, its model locked against other claims.

    Only PostgreSQL locks, and passes over models that another claim has locked; SQLite's
    write transactions come one at a time anyway.
    """
    position: int | None = connection.scalar(
        claimable_heads(queues)
        .limit(1)
        .with_for_update(of=models, skip_locked=True, key_share=True)
    )
    return position


def take(connection: Connection, position: int, owner: str, lease_s: float) -> Job | None:
    """Claim the job if it still is a claimable head, counting a passed lease as a loss."""
    lost = and_(_abandoned(), jobs.c.lease_until.is_not(None))
    row = connection.execute(
        update(jobs)
        .where(jobs.c.position == position, _claimable(), jobs.c.position == _head(jobs.c.model))
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
