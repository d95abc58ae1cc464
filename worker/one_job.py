"""Run one job to its end, as the worker child of a pod that was made for it."""

import logging
import time
from collections.abc import Callable

from core.errors import Unavailable
from core.job_types.handlers import Tools
from core.job_types.run import run_next_job
from core.jobs.rows import Jobs
from core.platform import Platform
from core.values import JobId

log = logging.getLogger(__name__)

LOOK_S = 0.2  # between two looks for a request to stop


def run_one_job(
    platform: Platform, tools: Tools, job: JobId, *, owner: str, stopping: Callable[[], bool]
) -> bool:
    """Claim a job until it has ended; return False if asked to stop before.

    While it cannot be claimed it is tried again: the lease of a worker that was killed with its
    machine has not expired, or the job is paused until there is storage space.
    """
    while not stopping():
        try:
            claimed = run_next_job(platform, tools, owner=owner, stopping=stopping, only=job)
            if has_ended(platform, job):
                return True
        except Unavailable as fault:
            log.warning("waiting: %s", fault.message)
            claimed = None
        if claimed is None:
            _wait(platform.settings.sweep_seconds, stopping)
    return False


def has_ended(platform: Platform, job: JobId) -> bool:
    """Return whether a job has ended, or was deleted. Raises Unavailable."""
    with platform.transactions(read_only=True) as work:
        status = work[Jobs].statuses([job]).get(job)
    return status is None or status.done


def _wait(seconds: float, stopping: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stopping() and time.monotonic() < until:
        time.sleep(LOOK_S)
