"""The rule for when a child must be stopped."""

from collections.abc import Sequence
from enum import StrEnum

from core.domain.jobs.job import JobStatus
from core.domain.values import JobId
from core.ports import HeldJob


class Action(StrEnum):
    """The actions on a child."""

    LEAVE = "leave"
    TERMINATE = "terminate"
    KILL = "kill"


class Watchdog:
    """Detects a child that hangs: one that renews no lease, or ignores a cancellation."""

    def __init__(self, *, grace_s: float, margin_s: float) -> None:
        """Set the limits, in seconds.

        A cancelled job has `grace_s` to stop, and again after SIGTERM. A lease with less than
        `margin_s` left counts as lost, so that a hung child is gone before another worker can claim
        its job.
        """
        self._grace_s = grace_s
        self._margin_s = margin_s
        self._cancelling_since: dict[JobId, float] = {}

    def remedy(self, held: Sequence[HeldJob], now: float) -> Action:
        """Return what to do about a child that holds these jobs; `now` is from a steady clock."""
        self._cancelling_since = {
            job.id: self._cancelling_since.get(job.id, now)
            for job in held
            if job.status is JobStatus.CANCELLING
        }
        if any(job.lease_s < self._margin_s for job in held):
            return Action.KILL
        waited = max((now - since for since in self._cancelling_since.values()), default=0.0)
        if waited >= 2 * self._grace_s:
            return Action.KILL
        return Action.TERMINATE if waited >= self._grace_s else Action.LEAVE
