"""Gauges of queues, runs, versions and the outbox, as the database has them now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import String, func, literal, select

from core.database.tables import alias_moves, deliveries, jobs, versions
from core.database.work import Rows
from core.jobs.claim_rows import CLAIMED, UNFINISHED
from core.jobs.orders import JobType
from core.jobs.rules import JobStatus, Progress
from core.outbox.rules import DeliveryStatus
from core.values import JobId


@dataclass(frozen=True, kw_only=True)
class QueueGauge:
    """The number of unfinished jobs of one type and status."""

    type: JobType
    status: JobStatus
    jobs: int
    oldest: datetime  # when the oldest of them was ordered


@dataclass(frozen=True, kw_only=True)
class RunningGauge:
    """The progress of a claimed job."""

    job: JobId
    type: JobType
    owner: str  # `<host>:<supervisor>:<child>`; empty once the job was released
    phase: str
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class OutboxGauge:
    """The pending deliveries of webhooks."""

    pending: int
    oldest: datetime | None  # when the oldest of them was written


class Gauges(Rows):
    """Gauges of the present state, each read by an index: cheap enough for every scrape."""

    def queue(self) -> Sequence[QueueGauge]:
        """Return the number and the oldest time of unfinished jobs, by type and status."""
        query = (
            select(jobs.c.type, jobs.c.status, func.count(), func.min(jobs.c.created_at))
            .where(jobs.c.status.in_(UNFINISHED))
            .group_by(jobs.c.type, jobs.c.status)
        )
        return [
            QueueGauge(type=JobType(kind), status=JobStatus(status), jobs=count, oldest=oldest)
            for kind, status, count, oldest in self._connection.execute(query)
        ]

    def running(self) -> Sequence[RunningGauge]:
        """Return the claimed jobs and their progress."""
        query = (
            select(jobs.c.id, jobs.c.type, jobs.c.owner, jobs.c.phase, jobs.c.progress)
            .where(jobs.c.status.in_(CLAIMED))
            .order_by(jobs.c.position)
        )
        return [
            RunningGauge(
                job=JobId(row.id),
                type=JobType(row.type),
                owner=row.owner or "",
                phase=row.phase,
                progress=Progress(**row.progress),
            )
            for row in self._connection.execute(query)
        ]

    def versions(self) -> Mapping[tuple[str, str], int]:
        """Return the number of versions by status and verdict ("" without a verdict)."""
        query = (
            select(versions.c.status, versions.c.verdict, func.count())
            .where(versions.c.deleted_at.is_(None))
            .group_by(versions.c.status, versions.c.verdict)
        )
        return {
            (status, verdict or ""): n for status, verdict, n in self._connection.execute(query)
        }

    def alias_moves(self) -> Mapping[str, int]:
        """Return how often aliases were created, promoted, rolled back and deleted."""
        query = select(alias_moves.c.kind, func.count()).group_by(alias_moves.c.kind)
        return {row.kind: row[1] for row in self._connection.execute(query)}

    def outbox(self) -> OutboxGauge:
        """Return the number of pending deliveries and when the oldest of them was written."""
        # Rendered into the SQL, since neither database would match a parameter to the index.
        pending = literal(DeliveryStatus.PENDING.value, String, literal_execute=True)
        query = select(func.count(), func.min(deliveries.c.created_at))
        count, oldest = self._connection.execute(query.where(deliveries.c.status == pending)).one()
        return OutboxGauge(pending=count, oldest=oldest)
