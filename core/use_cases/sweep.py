"""What somebody must do now and then so that nothing is lost."""

from datetime import timedelta

from core.domain.update import Queue
from core.domain.values import JobId
from core.ports import Doorbell, Platform
from core.use_cases.workers import FORGOTTEN_AFTER_S

IDEMPOTENCY_HOURS = 24
TEMPORARY_AGE_S = 3600.0
ANY_JOB = JobId("any")


def ring_for_waiting_jobs(platform: Platform, doorbell: Doorbell) -> bool:
    """Ring again in this worker's queues where some job could be claimed; whether there was one."""
    with platform.transactions(read_only=True) as work:
        waiting = work.jobs.claimable([Queue(queue) for queue in platform.settings.queues])
    for queue in waiting:
        doorbell.ring(ANY_JOB, queue)
    return bool(waiting)


def forget_old_traces(platform: Platform) -> None:
    """Forget what nobody needs any more.

    Idempotency-Keys after a day, temporaries of dead writers after an hour, checkpoints of jobs
    that ended without a worker, workers that fell silent a day ago.
    """
    with platform.transactions() as work:
        work.idempotency.forget(platform.clock() - timedelta(hours=IDEMPOTENCY_HOURS))
        work.beats.forget_silent(FORGOTTEN_AFTER_S)
        for checkpoint in work.jobs.take_spent_checkpoints():
            platform.artifacts.delete(checkpoint)
        work.commit()
    platform.artifacts.sweep(TEMPORARY_AGE_S)
