"""Writes to a claimed job, each of which requires the claim's fence."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, select, update

from core.adapters.database.clock import epoch_now
from core.adapters.database.jobs.events import SqlJobEvents
from core.adapters.database.jobs.rows import CLAIMED, progress_to_json
from core.adapters.database.operations.counters import SqlCounters
from core.adapters.database.tables.jobs import jobs
from core.adapters.database.webhooks.outbox import SqlOutbox
from core.domain.jobs.event import EventKind, JobEvent
from core.domain.jobs.job import Job, JobStatus, Progress
from core.domain.recipes.choices import Precision
from core.domain.values import Digest, JobId, Json, PolicyId, SuiteId
from core.domain.webhooks.event import job_ended
from core.errors import CancelRequested, LeaseLost


class SqlHeldJobs:
    """The part of the `Jobs` port that the worker with the claim uses."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._events = SqlJobEvents(connection)
        self._counters = SqlCounters(connection)
        self._outbox = SqlOutbox(connection)

    def advance(
        self, job: JobId, fence: int, *, lease_s: float, phase: str, progress: Progress
    ) -> JobStatus:
        """Write progress and renew the lease, by fence; return the status. Raises LeaseLost."""
        return self._write(
            job,
            fence,
            phase=phase,
            progress=progress_to_json(progress),
            lease_until=epoch_now() + lease_s,
        )

    def renew(self, job: JobId, fence: int, lease_s: float) -> JobStatus:
        """Renew the lease, by fence; return the status. Raises LeaseLost."""
        return self._write(job, fence, lease_until=epoch_now() + lease_s)

    def status(self, job: JobId, fence: int) -> JobStatus:
        """Return the status if the fence still holds. Raises LeaseLost."""
        query = select(jobs.c.status).where(
            jobs.c.id == job, jobs.c.fence == fence, jobs.c.status.in_(CLAIMED)
        )
        return _require_held(self._connection.scalar(query), job, fence)

    def set_parent(self, job: JobId, fence: int, parent: int) -> None:
        """Fix the parent version. Raises LeaseLost."""
        self._write(job, fence, parent_version=parent)

    def pin_precision(self, job: JobId, fence: int, precision: Precision) -> None:
        """Fix the precision in which an update computes. Raises LeaseLost."""
        self._write(job, fence, precision=precision)

    def pin(self, job: JobId, fence: int, *, suites: Sequence[SuiteId], policy: PolicyId) -> None:
        """Fix the suites and policy of an update ordered without them. Raises LeaseLost."""
        self._write(job, fence, suites=list(suites), policy=policy)

    def set_checkpoint(self, job: JobId, fence: int, checkpoint: Digest) -> None:
        """Record the checkpoint to resume from; reset `lost` and `pauses`. Raises LeaseLost."""
        self._write(job, fence, checkpoint=checkpoint, lost=0, pauses=0)

    def set_version(self, job: JobId, fence: int, version: int) -> None:
        """Record the published candidate, drop the checkpoint, reset `lost` and `pauses`.

        Raises LeaseLost.
        """
        self._write(job, fence, version=version, checkpoint=None, lost=0, pauses=0)

    def finish(self, job: Job, fence: int) -> None:
        """Write the final state and the event of it, by fence.

        Raises LeaseLost, and CancelRequested if a job that is being cancelled would succeed.
        """
        status = self._write(job.id, fence, fence=fence)  # locked from here on
        if status is JobStatus.CANCELLING and job.status is JobStatus.SUCCEEDED:
            raise CancelRequested
        self._write(
            job.id,
            fence,
            status=job.status,
            phase=job.phase,
            result=job.result,
            error=job.error,
            finished_at=job.finished_at,
            checkpoint=job.checkpoint,
            owner=None,
            lease_until=None,
        )
        self._record_end(job, EventKind.DONE, job.outcome)

    def release(self, job: JobId, fence: int, *, lost: bool = False) -> None:
        """Give a running job back to the queue, counting it as lost or not.

        A job that is being cancelled keeps that status until it is ended. Raises LeaseLost.
        """
        self._give_back(job, fence, lost=jobs.c.lost + int(lost))

    def pause(self, job: JobId, fence: int, *, phase: str, pause_s: float) -> None:
        """Give a running job back to the queue; it cannot be claimed for `pause_s` seconds.

        A job that is being cancelled keeps that status. Raises LeaseLost.
        """
        until, pauses = epoch_now() + pause_s, jobs.c.pauses + 1
        self._give_back(job, fence, phase=phase, pauses=pauses, paused_until=until)

    def add_event(self, job: JobId, kind: EventKind, data: Json, at: datetime) -> JobEvent:
        """Add the next event of a job's history. Raises JobNotFound."""
        return self._events.add(job, kind, data, at)

    def _record_end(self, job: Job, kind: EventKind, data: Json) -> None:
        """Add the last event of a job, count the job as ended, and tell webhooks."""
        if job.finished_at is None:
            raise ValueError("an ended job needs finished_at")
        self.add_event(job.id, kind, data, job.finished_at)
        self._counters.add_ended(job)
        self._outbox.add(job_ended(job))

    def _give_back(self, job: JobId, fence: int, **values: Any) -> None:
        """Write that no worker holds the job any more. Raises LeaseLost."""
        running = jobs.c.status == JobStatus.RUNNING
        self._write(
            job,
            fence,
            status=case((running, JobStatus.QUEUED.value), else_=jobs.c.status),
            fence=fence + 1,
            owner=None,
            lease_until=None,
            **values,
        )

    def _write(self, job: JobId, held: int, /, **values: Any) -> JobStatus:
        """Write to a claimed job if the fence still holds; return the status. Raises LeaseLost."""
        written = self._connection.scalar(
            update(jobs)
            .where(jobs.c.id == job, jobs.c.fence == held, jobs.c.status.in_(CLAIMED))
            .values(values)
            .returning(jobs.c.status)
        )
        return _require_held(written, job, held)


def _require_held(status: str | None, job: JobId, fence: int) -> JobStatus:
    if status is None:
        raise LeaseLost(job=job, fence=fence)
    return JobStatus(status)
