"""Return a job that cannot continue to the queue."""

import logging
import time
from collections.abc import Callable

from core.domain.jobs.event import EventKind
from core.domain.jobs.job import Job
from core.errors import LeaseLost, StorageFull
from core.ports import Platform

log = logging.getLogger(__name__)

RETRY_S = 1.0  # between attempts to record a pause in a database that is itself full


def release(platform: Platform, job: Job, *, lost: bool = False) -> None:
    """Return the job to the queue; while the database is unavailable, its lease expires instead."""
    try:
        with platform.transactions() as work:
            work.jobs.release(job.id, job.fence, lost=lost)
            work.jobs.add_event(job.id, EventKind.RELEASED, {}, platform.clock())
            work.commit()
    except LeaseLost:
        log.warning("lost the lease: the job was not returned to the queue")


def pause(
    platform: Platform, job: Job, fault: StorageFull, *, stopping: Callable[[], bool]
) -> None:
    """Return the job, with its checkpoint, to the queue until there may be storage space again.

    The event records how much space is missing. If the database is full too, this is tried again
    until it succeeds, the lease is lost or the worker is stopping.
    """
    while True:
        try:
            _pause(platform, job, fault)
        except LeaseLost:
            log.warning("lost the lease: the job was not paused")
        except StorageFull:
            if not stopping():
                time.sleep(RETRY_S)
                continue
            log.warning("the database has no space left; the job's lease will expire instead")
        return


def _pause(platform: Platform, job: Job, fault: StorageFull) -> None:
    with platform.transactions() as work:
        seconds = work.jobs.get(job.id).pause_s
        work.jobs.pause(job.id, job.fence, phase=fault.code, pause_s=seconds)
        facts = {"reason": fault.code, **room_of(fault), "retry_after_s": seconds}
        work.jobs.add_event(job.id, EventKind.PAUSED, facts, platform.clock())
        work.commit()


def room_of(fault: StorageFull) -> dict[str, int]:
    """Return the bytes needed, free and missing, as far as the error states them."""
    told = {
        name: value
        for name in ("needed_bytes", "free_bytes")
        if isinstance(value := fault.facts.get(name), int)
    }
    if len(told) == 2:
        told["missing_bytes"] = max(0, told["needed_bytes"] - told["free_bytes"])
    return told
