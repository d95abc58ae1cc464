"""Events of jobs, numbered without gaps."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from core.adapters.database.jobs.rows import to_event
from core.adapters.database.tables.jobs import job_events, jobs
from core.domain.jobs.event import EventKind, JobEvent
from core.domain.values import JobId, Json
from core.errors import JobNotFound


class SqlJobEvents:
    """The part of the `Jobs` port that concerns events."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, job: JobId, kind: EventKind, data: Json, at: datetime) -> JobEvent:
        """Add a job's next event and lock the job's row until commit. Raises JobNotFound."""
        sequence = self._connection.scalar(
            update(jobs)
            .where(jobs.c.id == job)
            .values(events=jobs.c.events + 1)
            .returning(jobs.c.events)
        )
        if sequence is None:
            raise JobNotFound(job=job)
        event = JobEvent(job=job, sequence=sequence, kind=kind, data=data, at=at)
        self._connection.execute(insert(job_events).values(vars(event)))
        return event

    def page(self, job: JobId, limit: int, after: int) -> Sequence[JobEvent]:
        """Return a job's events after a sequence number, oldest first."""
        query = (
            select(job_events)
            .where(job_events.c.job == job, job_events.c.sequence > after)
            .order_by(job_events.c.sequence)
            .limit(limit)
        )
        return [to_event(row) for row in self._connection.execute(query)]

    def newest(self, job: JobId, limit: int) -> Sequence[JobEvent]:
        """Return a job's newest events, newest first."""
        query = (
            select(job_events)
            .where(job_events.c.job == job)
            .order_by(job_events.c.sequence.desc())
            .limit(limit)
        )
        return [to_event(row) for row in self._connection.execute(query)]

    def sample(self, job: JobId, kind: EventKind, most: int) -> Sequence[JobEvent]:
        """Return at most about `most` of a job's events of a kind, spread evenly, oldest first."""
        last = select(func.max(job_events.c.sequence)).where(job_events.c.job == job)
        every = (self._connection.scalar(last) or 0) // most + 1
        query = (
            select(job_events)
            .where(
                job_events.c.job == job,
                job_events.c.kind == kind,
                job_events.c.sequence % every == 0,
            )
            .order_by(job_events.c.sequence)
        )
        return [to_event(row) for row in self._connection.execute(query)]
