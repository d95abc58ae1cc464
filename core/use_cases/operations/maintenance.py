"""Maintenance that a supervisor repeats: notify waiting jobs, end cancelled ones, clean up."""

import logging
from contextlib import suppress
from datetime import timedelta

from core.domain.jobs.order import Queue
from core.domain.values import JobId
from core.domain.webhooks.delivery import KEPT_DAYS
from core.errors import LeaseLost
from core.ports import JobNotifier, Platform
from core.use_cases.operations.workers import FORGOTTEN_AFTER_S

log = logging.getLogger(__name__)

IDEMPOTENCY_HOURS = 24
EXPIRED_HOURS = 24  # for which an expired upload answers 410, and not 404
TEMPORARY_AGE_S = 3600.0
ANY_JOB = JobId("any")


def notify_waiting_jobs(platform: Platform, notifier: JobNotifier) -> bool:
    """Notify this worker's queues again of claimable jobs; return whether there were any."""
    with platform.transactions(read_only=True) as work:
        waiting = work.jobs.claimable([Queue(queue) for queue in platform.settings.queues])
    for queue in waiting:
        notifier.notify(ANY_JOB, queue)
    return bool(waiting)


def end_cancelled_jobs(platform: Platform) -> None:
    """End the jobs that are being cancelled and that no worker holds, and drop their checkpoints.

    Otherwise the next job of their model would wait until a worker is free to end them.
    """
    with platform.transactions(read_only=True) as work:  # as a rule there is none to write to
        alone = work.jobs.cancelling_alone()
    for job in alone:
        now = platform.clock()
        with suppress(LeaseLost), platform.transactions() as work:  # lost: somebody was faster
            work.jobs.finish(job.cancelled(now), job.fence)
            work.commit()
            log.info("job cancelled: no worker holds it", extra={"job": job.id})
            if job.checkpoint is not None:
                platform.artifacts.delete(job.checkpoint)


def forget_old_traces(platform: Platform) -> None:
    """Delete what is no longer needed.

    That is: expired sessions of browsers, Idempotency-Keys after a day, uploads a day after they
    expired, temporary files of crashed writers after an hour, checkpoints of jobs that ended
    without a worker, workers without a heartbeat for a day, deliveries of webhooks after two weeks,
    also those that a paused webhook never received, and predictions of trials that have ended or
    are older than the settings say.
    """
    with platform.transactions() as work:
        work.sessions.forget(platform.clock())
        work.idempotency.forget(platform.clock() - timedelta(hours=IDEMPOTENCY_HOURS))
        work.uploads.forget(platform.clock() - timedelta(hours=EXPIRED_HOURS))
        work.predictions.forget(
            platform.clock() - timedelta(hours=platform.settings.max_trial_hours)
        )
        work.outbox.forget(platform.clock() - timedelta(days=KEPT_DAYS))
        work.heartbeats.forget_silent(FORGOTTEN_AFTER_S)
        for checkpoint in work.jobs.take_spent_checkpoints():
            platform.artifacts.delete(checkpoint)
        work.commit()
    platform.artifacts.sweep(TEMPORARY_AGE_S)
