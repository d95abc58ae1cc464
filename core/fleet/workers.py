"""List the workers, alive and lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.database.work import Work
from core.errors import JobNotFound
from core.fleet.rows import Heartbeat, Heartbeats
from core.jobs.orders import Queue
from core.jobs.rows import Jobs
from core.platform import Platform
from core.settings import Settings
from core.values import JobId, Json

LEAST_SILENCE_LIMIT_S = 15.0
FORGOTTEN_AFTER_S = 24 * 3600.0  # a worker that is silent for so long is listed no more


@dataclass(frozen=True, kw_only=True)
class WorkerState:
    """A worker's last heartbeat, and whether it is recent."""

    heartbeat: Heartbeat
    fresh: bool


def list_workers(platform: Platform) -> Sequence[WorkerState]:
    """Return every worker with a heartbeat within a day that has not shut down properly.

    A job that the caller may not see is left out.
    """
    with platform.transactions(read_only=True) as work:
        return [
            WorkerState(
                heartbeat=_as_seen(work, last), fresh=is_fresh(platform.settings, last.age_s)
            )
            for last in work[Heartbeats].all()
        ]


def _as_seen(work: Work, heartbeat: Heartbeat) -> Heartbeat:
    job = heartbeat.facts.get("job")
    if job is None or work.principal.models is None:
        return heartbeat
    try:
        work[Jobs].get(JobId(job))
    except JobNotFound:
        return replace(heartbeat, facts={**heartbeat.facts, "job": None})
    return heartbeat


def trains_on(facts: Json) -> str | None:
    """Return what a worker trains on, in words; None if it does not train, or before it knows."""
    if Queue.GPU not in facts.get("queues", ()) or "device" not in facts:
        return None
    threads = facts.get("threads")
    counted = f"{threads} thread" if threads == 1 else f"{threads} threads"
    return f"{facts['device']}, {counted}; {facts.get('device_reason')}"


def is_fresh(settings: Settings, age_s: float) -> bool:
    """Return whether a worker whose last heartbeat is of this age counts as alive."""
    return age_s < silence_limit_s(settings)


def silence_limit_s(settings: Settings) -> float:
    """Return how long a worker may be silent, in seconds: five heartbeats, and at least fifteen."""
    return max(LEAST_SILENCE_LIMIT_S, 5 * settings.sweep_seconds)
