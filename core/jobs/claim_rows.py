"""Rows of jobs as the worker with the claim writes them, and of their events and counters."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json

from core.database.engine import epoch_now
from core.database.statements import KEPT, LONGEST, upsert
from core.database.tables import counters, job_events, jobs
from core.database.work import Rows
from core.errors import CancelRequested, JobNotFound, LeaseLost
from core.jobs.orders import JobType, Order, order_from_json, order_to_json
from core.jobs.rules import (
    JOBS_ENDED,
    PHASE_SECONDS,
    Beside,
    CounterValue,
    EventKind,
    Job,
    JobEvent,
    JobStatus,
    Progress,
    duration,
    job_ended,
)
from core.outbox.rows import Outbox
from core.recipes.fields import Precision
from core.values import Digest, JobId, Json, from_plain

# Events of jobs, numbered without gaps.


class JobEventRows(Rows):
    """The part of `Jobs` that reads and writes events."""

    def add_event(self, job: JobId, kind: EventKind, data: Json, at: datetime) -> JobEvent:
        """Add a job's next event and lock the job's row until commit. Raises JobNotFound."""
        sequence = self._connection.scalar(
            sa.update(jobs)
            .where(jobs.c.id == job)
            .values(events=jobs.c.events + 1)
            .returning(jobs.c.events)
        )
        if sequence is None:
            raise JobNotFound(job=job)
        event = JobEvent(job=job, sequence=sequence, kind=kind, data=data, at=at)
        self._connection.execute(sa.insert(job_events).values(vars(event)))
        return event

    def events(self, job: JobId, limit: int, after: int) -> Sequence[JobEvent]:
        """Return a job's events after a sequence number, oldest first."""
        later = job_events.c.sequence > after
        return self._events(_of_job(job).where(later).order_by(job_events.c.sequence).limit(limit))

    def newest_events(self, job: JobId, limit: int) -> Sequence[JobEvent]:
        """Return a job's newest events, newest first."""
        return self._events(_of_job(job).order_by(job_events.c.sequence.desc()).limit(limit))

    def sampled_events(self, job: JobId, kind: EventKind, most: int) -> Sequence[JobEvent]:
        """Return at most about `most` of a job's events of a kind, spread evenly, oldest first."""
        last = _of_job(job).with_only_columns(sa.func.max(job_events.c.sequence))
        every = (self._connection.scalar(last) or 0) // most + 1
        sampled = (job_events.c.kind == kind, job_events.c.sequence % every == 0)
        return self._events(_of_job(job).where(*sampled).order_by(job_events.c.sequence))

    def _events(self, query: sa.Select[Any]) -> Sequence[JobEvent]:
        return [JobEvent(**row._mapping) for row in self._connection.execute(query)]


def _of_job(job: JobId) -> sa.Select[Any]:
    return sa.select(job_events).where(job_events.c.job == job)


# Jobs that a worker holds by a claim.


class HeldJobRows(JobEventRows):
    """The part of `Jobs` that the worker with the claim uses."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._counters = Counters(connection)
        self._outbox = Outbox(connection)

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

    def status(self, job: JobId, fence: int, *, lock: bool = False) -> JobStatus:
        """Return the status if the fence still holds; `lock` keeps it so. Raises LeaseLost."""
        query = sa.select(jobs.c.status).where(
            jobs.c.id == job, jobs.c.fence == fence, jobs.c.status.in_(CLAIMED)
        )
        if lock:
            query = query.with_for_update(key_share=True)
        return _require_held(self._connection.scalar(query), job, fence)

    def set_parent(self, job: JobId, fence: int, parent: int) -> None:
        """Fix the parent version. Raises LeaseLost."""
        self._write(job, fence, parent_version=parent)

    def pin_order(self, job: JobId, fence: int, order: Order) -> None:
        """Fix an order of which something was not known when it was placed. Raises LeaseLost."""
        self._write(job, fence, order=order_to_json(order))

    def pin_precision(self, job: JobId, fence: int, precision: Precision) -> None:
        """Fix the precision in which an update computes. Raises LeaseLost."""
        self._write(job, fence, precision=precision)

    def pin_beside(self, job: JobId, fence: int, beside: Beside) -> None:
        """Fix the versions with which an update is compared to fit. Raises LeaseLost."""
        self._write(job, fence, beside=asdict(beside))

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
        """Put a running job back into its queue, not to be claimed for `pause_s` seconds.

        That does not count as lost. The queued job shows the phase. A job that is being cancelled
        keeps that status. Raises LeaseLost.
        """
        until, pauses = epoch_now() + pause_s, jobs.c.pauses + 1
        self._give_back(job, fence, phase=phase, pauses=pauses, paused_until=until)

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
            status=sa.case((running, JobStatus.QUEUED.value), else_=jobs.c.status),
            fence=fence + 1,
            owner=None,
            lease_until=None,
            **values,
        )

    def _write(self, job: JobId, held: int, /, **values: Any) -> JobStatus:
        """Write to a claimed job if the fence still holds; return the status. Raises LeaseLost."""
        written = self._connection.scalar(
            sa.update(jobs)
            .where(jobs.c.id == job, jobs.c.fence == held, jobs.c.status.in_(CLAIMED))
            .values(values)
            .returning(jobs.c.status)
        )
        return _require_held(written, job, held)


def _require_held(status: str | None, job: JobId, fence: int) -> JobStatus:
    if status is None:
        raise LeaseLost(job=job, fence=fence)
    return JobStatus(status)


# Counters of events, updated as they happen so that reads never scan history.


class Counters(Rows):
    """Rows of counters."""

    def add(self, name: str, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Add to the counter with this name and labels, as part of the transaction."""
        key = {"name": name, "labels": json.dumps(labels, sort_keys=True)}
        more = {"value": counters.c.value + amount}
        upsert(self._connection, counters, {**key, "value": amount}, more)

    def add_phase(self, labels: Mapping[str, str], seconds: float) -> None:
        """Count the duration of a phase."""
        for part, amount in duration(labels, max(0.0, seconds)):
            self.add(PHASE_SECONDS, part, amount)

    def add_ended(self, job: Job) -> None:
        """Count a job that has ended."""
        verdict = (job.result or {}).get("verdict") or ""
        labels = {"type": job.type.value, "status": job.status.value, "verdict": verdict}
        self.add(JOBS_ENDED, labels)

    def all(self) -> Sequence[CounterValue]:
        """Return all counters: a few rows per name."""
        query = sa.select(counters).order_by(counters.c.name, counters.c.labels)
        return [
            CounterValue(name=row.name, labels=json.loads(row.labels), value=row.value)
            for row in self._connection.execute(query)
        ]


# Conversion of jobs and their events to and from rows.

UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING)
CLAIMED = (JobStatus.RUNNING, JobStatus.CANCELLING)

_FIELDS = {column.name: column for column in jobs.c if column.name in Job.__dataclass_fields__}
_NAMES = tuple(_FIELDS)
# For `to_job`. The order is parsed there, by a cache of its own.
ORDER_TEXT = sa.cast(jobs.c.order, sa.Text)
JOB_COLUMNS = tuple((_FIELDS | {"order": ORDER_TEXT}).values())


def to_row(job: Job) -> dict[str, Any]:
    """Return the column values of a new job."""
    return {
        **vars(job),
        "order": order_to_json(job.order),
        "progress": progress_to_json(job.progress),
        "events": 0,
    }


def to_job(row: sa.Row[Any]) -> Job:
    """Return the job of a row that begins with JOB_COLUMNS."""
    values = dict(zip(_NAMES, row, strict=False))
    job_type, suites = JobType(values["type"]), values["suites"]
    return Job(
        **values
        | {
            "type": job_type,
            "order": parse_order(values["order"], job_type),
            "status": JobStatus(values["status"]),
            "progress": Progress(**values["progress"]),
            "suites": None if suites is None else tuple(suites),
            "precision": values["precision"] and Precision(values["precision"]),
            "beside": from_plain(Beside, values["beside"]),
        }
    )


def progress_to_json(progress: Progress) -> dict[str, Any]:
    """Return progress as JSON, without loss terms that are not finite, which JSON lacks."""
    terms = {name: value for name, value in progress.terms.items() if math.isfinite(value)}
    return {**vars(progress), "terms": terms}


def parse_order(text: str, job_type: JobType) -> Order:
    """Return the order stored with a job."""
    return _order(text, job_type) if len(text) <= LONGEST else _order.__wrapped__(text, job_type)


@lru_cache(KEPT)
def _order(text: str, job_type: JobType) -> Order:
    return order_from_json(job_type, from_json(text))
