"""Queue jobs, at most one per Idempotency-Key, and cancel them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core.domain.access.audit import Action
from core.domain.access.principal import Principal
from core.domain.jobs.event import EventKind
from core.domain.jobs.job import Job
from core.domain.jobs.order import JobType, Order
from core.domain.registry.version import Model
from core.domain.values import Digest, JobId, SuiteId, new_id
from core.errors import IdempotencyMismatch, JobDeleted, JobNotFound
from core.ports import IdempotentReply, JobNotifier, Platform, UnitOfWork
from core.use_cases.access import audit

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """The principal who orders a job, and the Idempotency-Key with the body's digest, if any."""

    principal: Principal
    key: str | None = None
    body: Digest | None = None


def notify_workers(notifier: JobNotifier, job: Job) -> None:
    """Notify workers of a committed job."""
    log.info("job queued", extra={"job": job.id, "type": job.type.value})
    notifier.notify(job.id, job.type.queue)


def find_replayed(work: UnitOfWork, request: JobRequest) -> Job | None:
    """Return the job that this Idempotency-Key already made, if any.

    Raises IdempotencyMismatch, or JobDeleted: the request is not carried out a second time.
    """
    if request.key is None or request.body is None:
        return None
    reply = work.idempotency.find(request.principal.name, request.key)
    if reply is None:
        return None
    if reply.body != request.body:
        raise IdempotencyMismatch
    try:
        return work.jobs.get(reply.job)
    except JobNotFound as error:
        raise JobDeleted(job=reply.job) from error


def enqueue(
    work: UnitOfWork,
    request: JobRequest,
    model: Model | None,
    job_type: JobType,
    order: Order,
    now: datetime,
    *,
    lane: str | None = None,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
    retry_of: JobId | None = None,
    suites: tuple[SuiteId, ...] | None = None,
) -> Job:
    """Queue a job in a transaction, and store the Idempotency-Key of its request.

    Some suites, or else the model's current ones, and its policy are pinned with a job that asks
    versions about them. A job without a model needs a lane.
    """
    lane = lane or (model.id if model else None)
    if lane is None:
        raise ValueError("a job without a model needs a lane")
    scored = model if job_type.is_scored else None
    if scored is not None and suites is None:
        suites = scored.suites
    job = Job(
        id=JobId(new_id("job", now)),
        type=job_type,
        model=model.id if model else None,
        lane=lane,
        order=order,
        priority=priority,
        suites=suites,
        policy=scored.policy if scored else None,
        metadata=metadata or {},
        retry_of=retry_of,
        ordered_by=request.principal.id,
        trace=request.principal.trace,
        created_at=now,
    )
    work.jobs.add(job)
    work.jobs.add_event(job.id, EventKind.QUEUED, {}, now)
    audit.record(
        work,
        Action.JOB_RETRIED if retry_of else Action.JOB_ORDERED,
        f"jobs/{job.id}",
        now=now,
        before={"job": retry_of} if retry_of else None,
        after={"type": job_type.value, "model": model.name if model else None},
        actor=request.principal.name,
    )
    if request.key is not None and request.body is not None:
        work.idempotency.add(
            IdempotentReply(
                actor=request.principal.name,
                key=request.key,
                body=request.body,
                job=job.id,
                created_at=now,
            )
        )
    return job


def cancel_job(platform: Platform, job: JobId) -> Job:
    """Cancel a queued job at once, a running one at its next step. Raises JobFinished."""
    with platform.transactions() as work:
        cancelled = cancel(work, work.jobs.get(job, lock=True), platform.clock())
        work.commit()
    return cancelled


def cancel(
    work: UnitOfWork, job: Job, now: datetime, *, reason: str = "", actor: str | None = None
) -> Job:
    """Cancel a job in a transaction. Raises JobFinished, also if it has changed since it was read.

    `actor` is by default whose transaction it is.
    """
    cancelled = job.cancel(now)
    work.jobs.cancel(cancelled, job.status, now)
    audit.record(
        work,
        Action.JOB_CANCELLED,
        f"jobs/{job.id}",
        now=now,
        before={"status": job.status.value},
        after={"status": cancelled.status.value},
        reason=reason,
        actor=actor,
    )
    return cancelled
