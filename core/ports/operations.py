"""Ports for worker heartbeats, counters and gauges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.jobs.counter import CounterValue
from core.domain.jobs.job import JobStatus, Progress
from core.domain.jobs.order import JobType
from core.domain.values import JobId, Json


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of a worker."""

    worker: str
    facts: Json
    age_s: float  # by the database's clock


class Heartbeats(Protocol):
    def record(self, worker: str, facts: Json) -> None:
        """Record a heartbeat of a worker, by the database's clock."""

    def fresh(self, within_s: float) -> Sequence[tuple[str, Json]]: ...

    def all(self) -> Sequence[Heartbeat]:
        """Return the last heartbeat of every worker that has not shut down cleanly, by name."""

    def forget(self, worker: str) -> None: ...

    def forget_silent(self, older_than_s: float) -> int:
        """Forget workers without a heartbeat for `older_than_s` seconds; return how many."""


class Counters(Protocol):
    def add(self, name: str, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Add to the counter of a name and labels, as part of the transaction."""

    def add_phase(self, labels: Mapping[str, str], seconds: float) -> None:
        """Add the duration of a phase to its counters."""

    def all(self) -> Sequence[CounterValue]: ...


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


class Gauges(Protocol):
    """The present state in numbers, cheap enough to read every few seconds."""

    def queue(self) -> Sequence[QueueGauge]: ...

    def running(self) -> Sequence[RunningGauge]: ...

    def versions(self) -> Mapping[tuple[str, str], int]:
        """Return the number of versions by status and verdict ("" before one)."""

    def alias_moves(self) -> Mapping[str, int]:
        """Return the number of alias moves by kind."""

    def outbox(self) -> OutboxGauge:
        """Return the pending deliveries of webhooks."""
