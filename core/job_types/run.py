"""Claim the next job, run it and record how it ended."""

import logging
from collections.abc import Callable

from structlog.contextvars import bound_contextvars

from core import errors
from core.job_types.handlers import Tools, perform
from core.jobs.claim_rows import Counters
from core.jobs.monitor import JobMonitor, pause, release
from core.jobs.orders import Queue
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind, Job, JobStatus
from core.platform import Platform
from core.tracing import SpanKind
from core.values import JobId

log = logging.getLogger(__name__)


def run_next_job(
    platform: Platform,
    tools: Tools,
    *,
    owner: str,
    stopping: Callable[[], bool],
    only: JobId | None = None,
) -> Job | None:
    """Claim the next job of this worker's queues and run it to its end; the claimed job, or None.

    With `only`, that job is claimed or none.

    Every way a job can end is recorded here: succeeded, failed, cancelled, or returned to the
    queue because this worker is stopping, the database or the artifact store was unavailable, or
    a disk is full. A job whose lease is lost is left alone.
    """
    job = _claim(platform, owner, only)
    if job is None:
        return None
    with bound_contextvars(job=job.id, type=job.type.value, fence=job.fence):
        log.info("job claimed", extra={"attempt": job.attempt})
        _run_to_end(platform, tools, job, JobMonitor(platform, job, stopping=stopping))
    return job


def _claim(platform: Platform, owner: str, only: JobId | None) -> Job | None:
    settings, now = platform.settings, platform.clock()
    with platform.transactions() as work:
        job = work[Jobs].claim(
            owner,
            settings.lease_seconds,
            settings.lost_attempts,
            [Queue(queue) for queue in settings.queues],
            only=only,
        )
        if job is not None:
            told = {"attempt": job.attempt, "owner": owner}
            work[Jobs].add_event(job.id, EventKind.CLAIMED, told, now)
            if job.attempt == 1:
                waited_s = (now - job.created_at).total_seconds()
                labels = {"type": job.type.value, "phase": "queued"}
                work[Counters].add_phase(labels, waited_s)
        work.commit()
    return job


def _run_to_end(platform: Platform, tools: Tools, job: Job, monitor: JobMonitor) -> None:
    try:
        _dispatch(platform, tools, job, monitor)
    except errors.LeaseLost:
        log.warning("lost the lease: another worker now runs the job")
        return
    except errors.StopRequested:
        log.info("job returned to the queue: this worker is stopping")
        release(platform, job)
    except errors.DatabaseUnavailable:
        log.warning("job returned to the queue: the database was unavailable")
        release(platform, job, lost=True)
    except errors.ArtifactsUnavailable as fault:
        # Not the job's fault, and the store's client has waited a while between its tries.
        log.warning("job returned to the queue: %s", fault.message)
        release(platform, job)
    except errors.StorageFull as fault:
        log.warning("job paused: %s", fault.message)
        pause(platform, job, fault, stopping=monitor.stopping)
    except errors.CancelRequested:
        log.info("job cancelled")
        _end(platform, job, None)
    except errors.PerennialError as fault:
        log.warning("job failed: %s", fault.message, extra={"code": fault.code})
        _end(platform, job, fault)
    except MemoryError:
        log.warning("job failed: out of memory")
        _end(platform, job, errors.OutOfMemory())
    except Exception as fault:
        # Any unexpected error must end the job: otherwise it would be claimed again for ever.
        log.exception("job failed unexpectedly")
        _end(platform, job, errors.Internal(f"{type(fault).__name__}: {fault}"))
    else:
        log.info("job succeeded")
    monitor.end()


def _dispatch(platform: Platform, tools: Tools, job: Job, monitor: JobMonitor) -> None:
    """Do what the job orders, within a span of the trace of the request that ordered it."""
    if job.status is JobStatus.CANCELLING:  # its last worker never saw the flag
        raise errors.CancelRequested
    with platform.tracer.begin(f"job {job.type}", SpanKind.CONSUMER, parent=job.trace) as span:
        span.set_attributes({"perennial.job": job.id, "perennial.attempt": job.attempt})
        try:
            perform(platform, tools, job, monitor)
        finally:
            monitor.end_span()


def _end(platform: Platform, job: Job, fault: errors.PerennialError | None) -> None:
    """Write that a job failed, or without a fault was cancelled, and drop its checkpoint."""
    now = platform.clock()
    try:
        with platform.transactions() as work:
            present = work[Jobs].get(job.id)
            if fault is None:
                ended = present.cancelled(now)
            else:
                error = {"code": fault.code, "message": fault.message, **fault.facts}
                ended = present.fail(error, now)
            work[Jobs].finish(ended, job.fence)
            work.commit()
    except errors.LeaseLost:
        log.warning("lost the lease: another worker will record the job's end")
        return
    if present.checkpoint is not None:
        platform.artifacts.delete(present.checkpoint)
