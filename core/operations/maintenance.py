"""Delete what has expired, as the supervisor does every few minutes, and say how the service is.

`core/upkeep` deletes what somebody asks to be deleted, and garbage.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.access.rows import Sessions
from core.database.idempotency import Idempotency
from core.errors import LeaseLost, NotReady, Unavailable
from core.fleet.rows import Heartbeat, Heartbeats
from core.fleet.workers import FORGOTTEN_AFTER_S, silence_limit_s, trains_on
from core.imports.rows import Uploads
from core.jobs.claim_rows import Counters
from core.jobs.orders import Queue
from core.jobs.rows import Jobs
from core.jobs.rules import CounterValue, JobNotifier
from core.operations.rows import Gauges, OutboxGauge, QueueGauge, RunningGauge
from core.outbox.rows import Outbox
from core.outbox.rules import KEPT_DAYS
from core.platform import Platform
from core.trials.rows import Predictions
from core.values import JobId, Json

log = logging.getLogger(__name__)

IDEMPOTENCY_HOURS = 24
EXPIRED_HOURS = 24  # for which an expired upload answers 410, and not 404
TEMPORARY_AGE_S = 3600.0
ANY_JOB = JobId("any")


def notify_waiting_jobs(platform: Platform, notifier: JobNotifier) -> bool:
    """Notify this worker's queues again of claimable jobs; return whether there were any."""
    with platform.transactions(read_only=True) as work:
        waiting = work[Jobs].claimable([Queue(queue) for queue in platform.settings.queues])
    for queue in waiting:
        notifier.notify(ANY_JOB, queue)
    return bool(waiting)


def end_cancelled_jobs(platform: Platform) -> None:
    """End the jobs that are being cancelled and that no worker holds, and drop their checkpoints.

    Otherwise the next job of their model would wait until a worker is free to end them.
    """
    with platform.transactions(read_only=True) as work:  # as a rule there is none to write to
        alone = work[Jobs].cancelling_alone()
    for job in alone:
        now = platform.clock()
        with suppress(LeaseLost), platform.transactions() as work:  # lost: somebody was faster
            work[Jobs].finish(job.cancelled(now), job.fence)
            work.commit()
            log.info("job cancelled: no worker holds it", extra={"job": job.id})
            if job.checkpoint is not None:
                platform.artifacts.delete(job.checkpoint)


def delete_expired(platform: Platform) -> None:
    """Delete what is no longer needed.

    That is: expired sessions of browsers, Idempotency-Keys after a day, uploads a day after they
    expired, temporary files of crashed writers after an hour, checkpoints of jobs that ended
    without a worker, workers without a heartbeat for a day, deliveries of webhooks after two weeks,
    also those that a paused webhook never received, and predictions of trials that have ended or
    are older than the settings say.
    """
    with platform.transactions() as work:
        work[Sessions].forget(platform.clock())
        work[Idempotency].forget(platform.clock() - timedelta(hours=IDEMPOTENCY_HOURS))
        work[Uploads].forget(platform.clock() - timedelta(hours=EXPIRED_HOURS))
        work[Predictions].forget(
            platform.clock() - timedelta(hours=platform.settings.max_trial_hours)
        )
        work[Outbox].forget(platform.clock() - timedelta(days=KEPT_DAYS))
        work[Heartbeats].forget_silent(FORGOTTEN_AFTER_S)
        for checkpoint in work[Jobs].take_spent_checkpoints():
            platform.artifacts.delete(checkpoint)
        work.commit()
    platform.artifacts.sweep(TEMPORARY_AGE_S)


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """The checks that have passed, and what the live workers train on."""

    checks: Mapping[str, bool]
    trains_on: Sequence[str]


def check_readiness(platform: Platform) -> Readiness:
    """Check database, disk and worker. Raises NotReady with the checks if one fails."""
    alive: Sequence[tuple[str, Json]] = ()
    checks = {"database": False, "disk": False, "worker": False}
    with suppress(Unavailable):  # where artifacts lie on S3, it answers too
        checks["disk"] = platform.artifacts.free_bytes() >= platform.settings.min_free_bytes
    with suppress(Unavailable), platform.transactions(read_only=True) as work:
        alive = work[Heartbeats].fresh(silence_limit_s(platform.settings))
        checks["worker"] = bool(alive)
        checks["database"] = True
    if not all(checks.values()):
        missing = ", ".join(name for name, good in checks.items() if not good)
        raise NotReady(f"Not ready: {missing}.", checks=checks)
    trained = filter(None, (trains_on(facts) for _, facts in alive))
    return Readiness(checks=checks, trains_on=tuple(dict.fromkeys(trained)))


# The whole service in numbers, at one moment, from one read-only transaction.


@dataclass(frozen=True, kw_only=True)
class ServiceStats:
    """The state of the service as the database has it now."""

    at: datetime
    queue: Sequence[QueueGauge]
    running: Sequence[RunningGauge]
    heartbeats: Sequence[Heartbeat]
    versions: Mapping[tuple[str, str], int]
    alias_moves: Mapping[str, int]
    outbox: OutboxGauge
    counters: Sequence[CounterValue]


def read_stats(platform: Platform) -> ServiceStats:
    """Read it all; the cost does not grow with the number of ended jobs. Raises Unavailable."""
    with platform.transactions(read_only=True) as work:
        return ServiceStats(
            at=platform.clock(),
            queue=work[Gauges].queue(),
            running=work[Gauges].running(),
            heartbeats=work[Heartbeats].all(),
            versions=work[Gauges].versions(),
            alias_moves=work[Gauges].alias_moves(),
            outbox=work[Gauges].outbox(),
            counters=work[Counters].all(),
        )
