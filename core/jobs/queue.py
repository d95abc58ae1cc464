"""Queue jobs, at most one per Idempotency-Key, and cancel them."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from core.audit import record as audit
from core.audit.rules import Action
from core.database.idempotency import Idempotency, IdempotentReply
from core.database.work import Work
from core.errors import IdempotencyMismatch, JobDeleted, JobNotFound, TooManyJobs
from core.hooks import Hook
from core.jobs.orders import JobType, Order, require_to_order
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind, Job, JobNotifier, JobStatus
from core.platform import Platform
from core.principal import Principal
from core.registry.rows import Models
from core.registry.versions import Model
from core.settings import Settings
from core.values import Digest, JobId, ModelId, SuiteId, counted, new_id

log = logging.getLogger(__name__)

# What takes part in the transaction of a cancellation, before it is written, and may refuse it.
ON_CANCEL = Hook[[Work, Job], None]("the cancellation of a job")


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """The principal who orders a job, and what the request says of any job.

    The key is the Idempotency-Key, if any, and the body's digest comes with it.
    """

    principal: Principal
    key: str | None = None
    body: Digest | None = None
    priority: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


def order_for_model(
    platform: Platform,
    notifier: JobNotifier,
    request: JobRequest,
    job_type: JobType,
    prepare: Callable[[Work, Model], Order],
    *,
    model: str,
    lane: Callable[[Model], str] | None = None,
) -> Job:
    """Queue a job of a model in one transaction, and tell workers; a repeated request adds none.

    `prepare` returns the order, or raises what would keep the job from starting. Raises
    ModelNotFound, TooManyJobs, and what `find_replayed` raises.
    """
    now = platform.clock()
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        found = work[Models].get(model)
        order = prepare(work, found)
        require_queue_room(platform.settings, work, request.principal, found)
        named = lane(found) if lane else None
        job = enqueue(work, request, found, job_type, order, now, lane=named)
        work.commit()
    notify_workers(notifier, job)
    return job


def find_replayed(work: Work, request: JobRequest) -> Job | None:
    """Return the job that this Idempotency-Key already made, if any.

    Raises IdempotencyMismatch, or JobDeleted: the request is not carried out a second time.
    """
    if request.key is None or request.body is None:
        return None
    reply = work[Idempotency].find(request.principal.name, request.key)
    if reply is None:
        return None
    if reply.body != request.body:
        raise IdempotencyMismatch
    try:
        return work[Jobs].get(reply.job)
    except JobNotFound as error:
        raise JobDeleted(job=reply.job) from error


def enqueue(
    work: Work,
    request: JobRequest,
    model: Model | None,
    job_type: JobType,
    order: Order,
    now: datetime,
    *,
    lane: str | None = None,
    retry_of: JobId | None = None,
    suites: tuple[SuiteId, ...] | None = None,
) -> Job:
    """Queue a job in a transaction, and store the Idempotency-Key of its request.

    Some suites, or else the model's current ones, and its policy are pinned with a job that asks
    versions about them. A job without a model needs a lane. Raises Forbidden.
    """
    require_to_order(request.principal, job_type, order)
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
        priority=request.priority,
        suites=suites,
        policy=scored.policy if scored else None,
        metadata=request.metadata,
        retry_of=retry_of,
        ordered_by=request.principal.id,
        trace=request.principal.trace,
        created_at=now,
    )
    work[Jobs].add(job)
    work[Jobs].add_event(job.id, EventKind.QUEUED, {}, now)
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
        work[Idempotency].add(
            IdempotentReply(
                actor=request.principal.name,
                key=request.key,
                body=request.body,
                job=job.id,
                created_at=now,
            )
        )
    return job


def notify_workers(notifier: JobNotifier, job: Job) -> None:
    """Notify workers of a committed job."""
    log.info("job queued", extra={"job": job.id, "type": job.type.value})
    notifier.notify(job.id, job.type.queue)


def cancel_job(platform: Platform, job: JobId) -> Job:
    """Cancel a queued job at once, a running one at its next step.

    Raises what `cancel` raises.
    """
    with platform.transactions() as work:
        cancelled = cancel(work, work[Jobs].get(job, lock=True), platform.clock())
        work.commit()
    return cancelled


def cancel(
    work: Work, job: Job, now: datetime, *, reason: str = "", actor: str | None = None
) -> Job:
    """Cancel a job in a transaction.

    Raises Forbidden for whoever could not order it, ErasureCommitted, or JobFinished, also if it
    has changed since it was read. `actor` is by default whose transaction it is.
    """
    require_cancellable(work, job)
    cancelled = job.cancel(now)
    work[Jobs].cancel(cancelled, job.status, now)
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


def require_cancellable(work: Work, job: Job) -> None:
    """Raise Forbidden or ErasureCommitted if an unfinished job may not be cancelled."""
    require_to_order(work.principal, job.type, job.order)
    ON_CANCEL(work, job)


# The limits on jobs that wait.

RETRY_AFTER_S = 60  # a job takes minutes


def require_queue_room(
    settings: Settings, work: Work, principal: Principal, model: Model | None
) -> None:
    """Raise TooManyJobs if as many jobs of the model, or of the principal, wait as may wait.

    Erasures, and the updates that they order, do not ask: what is to be erased is not put off.
    """
    for who_has, limit, waiting in _counts(settings, work, principal, model):
        if waiting >= limit:
            raise TooManyJobs(
                f"{who_has} {counted(waiting, 'job')} waiting, of at most {limit:,}: "
                "order again when some of them have started.",
                waiting=waiting,
                limit=limit,
                retry_after_s=RETRY_AFTER_S,
            )


def _counts(
    settings: Settings, work: Work, principal: Principal, model: Model | None
) -> Iterator[tuple[str, int, int]]:
    """Yield whose jobs are limited, to how many, and how many there are."""
    if model is not None and (limit := settings.max_waiting_per_model):
        yield f"The model {model.name} has", limit, work[Jobs].waiting(model=model.id)
    if limit := settings.max_waiting_per_key:
        yield "You have", limit, work[Jobs].waiting(ordered_by=principal.id)


# The jobs of a model, or all, that have not ended.

_MANY = 1_000_000


def unfinished_jobs(work: Work, model: ModelId | None = None) -> Iterator[Job]:
    """Yield the jobs of a model, or all, that have not ended."""
    for status in JobStatus:
        if not status.done:
            yield from work[Jobs].page(_MANY, None, model=model, status=status)
