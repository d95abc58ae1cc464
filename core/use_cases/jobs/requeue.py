"""A job that cannot go on here and now goes back to the queue."""

import logging
import time
from collections.abc import Callable

from core.domain.jobs.event import EventKind
from core.domain.jobs.job import Job
from core.errors import LeaseLost, StorageFull
from core.ports import Platform

log = logging.getLogger(__name__)

RETRY_S = 1.0  # between two tries of telling a database that has no room either


def release(platform: Platform, job: Job, *, lost: bool = False) -> None:
    """Give the job back; while the database is away its lease runs out instead."""
    try:
        with platform.transactions() as work:
            work.jobs.release(job.id, job.fence, lost=lost)
            work.jobs.add_event(job.id, EventKind.RELEASED, {}, platform.clock())
            work.commit()
    except LeaseLost:
        log.warning("the lease is lost, there is nothing to give back")


def pause(
    platform: Platform, job: Job, fault: StorageFull, *, stopping: Callable[[], bool]
) -> None:
    """Give the job back for want of room, checkpoint and all, to be claimed after a while.

    The event tells how much is missing. Where the database has no room for that either it is
    tried again until it has, the lease is lost or the worker is stopping.
    """
    while True:
        try:
            _pause(platform, job, fault)
        except LeaseLost:
            log.warning("the lease is lost, there is nothing to give back")
        except StorageFull:
            if not stopping():
                time.sleep(RETRY_S)
                continue
            log.warning("the database has no room; the lease runs out instead")
        return


def _pause(platform: Platform, job: Job, fault: StorageFull) -> None:
    with platform.transactions() as work:
        seconds = work.jobs.get(job.id).pause_s
        work.jobs.pause(job.id, job.fence, phase=fault.code, pause_s=seconds)
        told = {"reason": fault.code, **room_of(fault), "retry_after_s": seconds}
        work.jobs.add_event(job.id, EventKind.PAUSED, told, platform.clock())
        work.commit()


def room_of(fault: StorageFull) -> dict[str, int]:
    """Return the bytes needed, free and missing, as far as the fault tells them."""
    told = {
        name: value
        for name in ("needed_bytes", "free_bytes")
        if isinstance(value := fault.facts.get(name), int)
    }
    if len(told) == 2:
        told["missing_bytes"] = max(0, told["needed_bytes"] - told["free_bytes"])
    return told
