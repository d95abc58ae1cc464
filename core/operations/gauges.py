"""Gauges of queues, runs and the outbox."""

from dataclasses import dataclass
from datetime import datetime

from core.jobs.orders import JobType
from core.jobs.rules import JobStatus, Progress
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
