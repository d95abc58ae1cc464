"""The dispatcher: one Job of a cluster for each job that could be claimed now.

The queue stays the truth. A Job only brings a worker that claims the job, and is made and deleted
to follow it. Jobs of one lane run one after another, so only the first has a Job: no pod holds a
GPU to wait for another one. A pod that is evicted, preempted or killed is known by its job's lease,
as any worker is.
"""

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

from core.errors import Unavailable
from core.fleet.rows import Heartbeats
from core.jobs.orders import Queue
from core.jobs.rows import Jobs
from core.platform import Platform
from core.values import JobId
from worker.cluster.jobs import ClusterJob, ClusterRefused
from worker.signalled import Signalled

log = logging.getLogger(__name__)

FORGET_EVERY_S = 600.0
ENDS_WITHIN_S = 60.0  # a pod whose job has ended

# The pause before a job whose Job has failed gets another, twice as long for each in a row. The
# longest is shorter than the cluster keeps a Job that has ended (ttlSecondsAfterFinished).
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 1800.0


class Cluster(Protocol):
    """The Jobs of a cluster; each call raises ClusterRefused."""

    def all(self) -> Sequence[ClusterJob]:
        """Return the Jobs that there are."""

    def make(self, job: JobId) -> None:
        """Make the Job of a job, unless there is one."""

    def delete(self, name: str) -> None:
        """Delete a Job with its pods."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The Jobs to make, in the order of claims, and to delete."""

    make: Sequence[JobId]
    delete: Sequence[ClusterJob]


def steps(
    claimable: Sequence[JobId],
    unfinished: Collection[JobId],
    present: Sequence[ClusterJob],
    overdue: Collection[str] = (),
    pausing: Collection[str] = (),
) -> Steps:
    """Return what to do about the Jobs that are present; `overdue` and `pausing` name some.

    A Job goes that has ended before its job, which gets a new one, unless that is to come after a
    pause. So does one whose job has ended while it was suspended, or whose pod is overdue to end by
    itself. Others that have ended stay until the cluster deletes them, with their logs.
    """

    def goes(one: ClusterJob) -> bool:
        if one.ended or one.deleting:
            return one.job in unfinished and not one.deleting and one.name not in pausing
        return one.job not in unfinished and (one.suspended or one.name in overdue)

    named = {one.job for one in present}
    return Steps(
        make=[job for job in claimable if job not in named], delete=[*filter(goes, present)]
    )


class Dispatcher:
    """Keeps the Jobs of a cluster as the queues of the settings need them."""

    def __init__(
        self, platform: Platform, cluster: Cluster, forget: Callable[[Queue], None]
    ) -> None:
        """Dispatch the settings' queues; `forget` deletes the notifications of one of them."""
        self._platform = platform
        self._cluster = cluster
        self._forget = forget
        self._queues = [Queue(queue) for queue in platform.settings.queues]
        self._name = f"{socket.gethostname()}:dispatcher"
        self._stopping = Signalled()
        self._forget_at = 0.0
        self._ending_since: dict[str, float] = {}
        self._failures: Counter[JobId] = Counter()  # of Jobs in a row
        self._again_at: dict[JobId, float] = {}  # of jobs whose Jobs have failed

    def stop(self) -> None:
        """Make `run` end soon; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> None:
        """Dispatch until asked to stop; the Jobs stay, and the next dispatcher goes on."""
        while not self._stopping.is_set():
            try:
                self.tick(time.monotonic())
            except ClusterRefused as fault:
                log.warning("waiting for the cluster: %s", fault)
            except Unavailable as fault:
                log.warning("waiting: %s", fault.message)
            except Exception:
                log.exception("the dispatcher failed unexpectedly and tries again")
            self._stopping.wait(self._platform.settings.sweep_seconds)
        try:
            with self._platform.transactions() as work:
                work[Heartbeats].forget(self._name)
                work.commit()
        except Unavailable as fault:
            log.warning("exited without reaching the database: %s", fault.message)

    def tick(self, now: float) -> None:
        """Make and delete the Jobs that are due, then send a heartbeat.

        Without a cluster there is no heartbeat, as nobody takes the queue's jobs. Raises
        ClusterRefused or Unavailable.
        """
        present = self._cluster.all()  # before the queue: a job that has ended is seen as ended
        with self._platform.transactions(read_only=True) as work:
            claimable = work[Jobs].claimable_jobs(self._queues)
            statuses = work[Jobs].statuses({one.job for one in present})
        unfinished = {job for job, status in statuses.items() if not status.done}
        due = steps(
            claimable,
            unfinished,
            present,
            overdue=self._overdue(present, unfinished, now),
            pausing=self._pausing(present, unfinished, claimable, now),
        )
        for old in due.delete:
            self._cluster.delete(old.name)
        self._make(due.make)
        self._send_heartbeat()
        if now >= self._forget_at:
            for queue in self._queues:
                self._forget(queue)
            self._forget_at = now + FORGET_EVERY_S

    def _make(self, wanted: Sequence[JobId]) -> None:
        """Make Jobs; one that the cluster refuses keeps no other from being made.

        Raises ClusterRefused if it refuses all.
        """
        refused = []
        for job in wanted:
            try:
                self._cluster.make(job)
            except ClusterRefused as fault:
                log.warning("the cluster refuses a Job: %s", fault, extra={"job": job})
                refused.append(fault)
            else:
                self._again_at.pop(job, None)
                log.info("made a Job", extra={"job": job})
        if refused and len(refused) == len(wanted):
            raise refused[0]

    def _overdue(
        self, present: Sequence[ClusterJob], unfinished: Collection[JobId], now: float
    ) -> set[str]:
        """Return the Jobs whose jobs ended a while ago, as far as this process has seen."""
        ending = [one.name for one in present if not one.ended and one.job not in unfinished]
        self._ending_since = {name: self._ending_since.get(name, now) for name in ending}
        return {name for name, at in self._ending_since.items() if now - at >= ENDS_WITHIN_S}

    def _pausing(
        self,
        present: Sequence[ClusterJob],
        unfinished: Collection[JobId],
        claimable: Collection[JobId],
        now: float,
    ) -> set[str]:
        """Return the Jobs that have ended before their jobs and stay, as another is not due yet.

        This process counts failures, until the job is neither claimable nor has a Job.
        """
        known = {*unfinished, *claimable}
        self._failures = Counter({job: n for job, n in self._failures.items() if job in known})
        self._again_at = {job: at for job, at in self._again_at.items() if job in known}
        failed = [one for one in present if one.ended and one.job in unfinished]
        for one in failed:
            if one.job in self._again_at:
                continue
            pause = min(FIRST_PAUSE_S * 2 ** self._failures[one.job], LONGEST_PAUSE_S)
            self._failures[one.job] += 1
            self._again_at[one.job] = now + pause
            told = "a Job ended before its job, which gets another in %.0f s: %s"
            log.warning(told, pause, one.reason, extra={"job": one.job})
        return {one.name for one in failed if now < self._again_at[one.job]}

    def _send_heartbeat(self) -> None:
        facts = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "state": "idle",
            "queues": [queue.value for queue in self._queues],
            "version": version("perennial"),
        }
        with self._platform.transactions() as work:
            work[Heartbeats].record(self._name, facts)
            work.commit()
