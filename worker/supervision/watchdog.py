"""When a child must be stopped."""

from collections.abc import Sequence
from enum import StrEnum

from core.domain.jobs.job import JobStatus
from core.domain.values import JobId
from core.ports import HeldJob


class Remedy(StrEnum):
    """What to do about a child."""

    LEAVE = "leave"
    TERMINATE = "terminate"
    KILL = "kill"


class Watchdog:
    """Finds the child that hangs: one that renews no lease, or ignores a cancellation."""

    def __init__(self, *, grace_s: float, margin_s: float) -> None:
        """`grace_s`: patience with a cancelled job, and again with SIGTERM.

        `margin_s`: a lease with less left counts as lost, so that a hung child is gone
        before another worker can claim its job.
        """
        self._grace_s = grace_s
        self._margin_s = margin_s
        self._cancelling_since: dict[JobId, float] = {}

    def remedy(self, held: Sequence[HeldJob], now: float) -> Remedy:
        """What the jobs that a child holds ask for; `now` is any steady clock's, in seconds."""
        self._cancelling_since = {
            job.id: self._cancelling_since.get(job.id, now)
            for job in held
            if job.status is JobStatus.CANCELLING
        }
        if any(job.lease_s < self._margin_s for job in held):
            return Remedy.KILL
        waited = max((now - since for since in self._cancelling_since.values()), default=0.0)
        if waited >= 2 * self._grace_s:
            return Remedy.KILL
        return Remedy.TERMINATE if waited >= self._grace_s else Remedy.LEAVE
