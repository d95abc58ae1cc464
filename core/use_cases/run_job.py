"""Claim the next job and see it through: the worker's whole day in one function."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from core.domain.update import EvaluateOrder, ImportOrder, Job, JobStatus, UpdateOrder
from core.domain.values import Digest
from core.errors import (
    CancelRequested,
    DatabaseUnavailable,
    Internal,
    LeaseLost,
    PerennialError,
    StopRequested,
)
from core.ports import Evaluator, Importer, Platform, Trainer
from core.use_cases.evaluate import evaluate_version
from core.use_cases.import_model import import_model
from core.use_cases.update_model import update_model
from core.use_cases.watch import JobWatch

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What needs torch: the worker's implementations of the training ports."""

    importer: Importer
    trainer: Trainer
    evaluator: Evaluator


def run_next_job(
    platform: Platform, tools: Tools, *, owner: str, stopping: Callable[[], bool]
) -> Job | None:
    """Claim the oldest claimable job and run it to its end; the claimed job, or None.

    Every way a job can end is recorded here: done, failed, cancelled, or given back to the
    queue because this worker is stopping or the database was away. A job whose lease is lost
    is left alone.
    """
    settings = platform.settings
    with platform.transactions() as work:
        job = work.jobs.claim(owner, settings.lease_seconds, settings.lost_attempts)
        if job is not None:
            claimed = {"attempt": job.attempt, "owner": owner}
            work.jobs.add_event(job.id, "claimed", claimed, platform.clock())
        work.commit()
    if job is None:
        return None
    watch = JobWatch(platform, job, stopping=stopping)
    try:
        _dispatch(platform, tools, job, watch)
    except LeaseLost:
        log.warning("job %s: the lease is lost, leaving it to its new owner", job.id)
    except StopRequested:
        _release(platform, job)
    except DatabaseUnavailable:
        log.warning("job %s goes back to the queue: the database was away", job.id)
        _release(platform, job, lost=True)
    except CancelRequested:
        _end(platform, job, cancelled=True)
    except PerennialError as fault:
        log.warning("job %s failed: %s", job.id, fault.message)
        _end(platform, job, fault=fault)
    except Exception as fault:
        # The one place where anything unforeseen must still become an answer: a job that
        # fails for ever without saying so would be claimed again and again.
        log.exception("job %s failed unexpectedly", job.id)
        _end(platform, job, fault=Internal(f"{type(fault).__name__}: {fault}"))
    return job


def _dispatch(platform: Platform, tools: Tools, job: Job, watch: JobWatch) -> None:
    if job.status is JobStatus.CANCELLING:  # its last worker never saw the flag
        raise CancelRequested
    match job.order:
        case ImportOrder():
            import_model(platform, tools.importer, job, job.order, watch)
        case UpdateOrder():
            version = update_model(platform, tools.trainer, job, job.order, watch)
            evaluate_version(platform, tools.evaluator, job, version, watch, promote=job.order)
        case EvaluateOrder():
            evaluate_version(platform, tools.evaluator, job, job.order.version, watch, promote=None)


def _release(platform: Platform, job: Job, *, lost: bool = False) -> None:
    """Give the job back; while the database is away its lease runs out instead."""
    try:
        with platform.transactions() as work:
            work.jobs.release(job.id, job.fence, lost=lost)
            work.jobs.add_event(job.id, "released", {}, platform.clock())
            work.commit()
    except LeaseLost:
        log.warning("job %s: the lease is lost, there is nothing to give back", job.id)


def _end(
    platform: Platform, job: Job, *, fault: PerennialError | None = None, cancelled: bool = False
) -> None:
    """Write the end of a job that did not succeed, and drop its checkpoint."""
    now = platform.clock()
    checkpoint: Digest | None = None
    try:
        with platform.transactions() as work:
            present = work.jobs.get(job.id)
            checkpoint = present.checkpoint
            if cancelled or fault is None:
                ended = present.cancelled(now)
            else:
                error = {"code": fault.code, "message": fault.message, **fault.facts}
                ended = present.fail(error, now)
            work.jobs.finish(ended, job.fence)
            work.jobs.add_event(job.id, "done", {"status": ended.status.value}, now)
            work.commit()
    except LeaseLost:
        log.warning("job %s: the lease is lost, its end is another worker's to write", job.id)
        return
    if checkpoint is not None:
        platform.artifacts.delete(checkpoint)
