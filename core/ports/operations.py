"""The rows that tell how the service fares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.jobs.counter import CounterValue
from core.domain.jobs.job import JobStatus, JobType, Progress
from core.domain.values import JobId, Json


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What a worker last said of itself."""

    worker: str
    facts: Json
    age_s: float  # by the database's clock


class Heartbeats(Protocol):
    def beat(self, worker: str, facts: Json) -> None:
        """A worker says that it lives (by the database's clock)."""

    def fresh(self, within_s: float) -> Sequence[tuple[str, Json]]: ...

    def all(self) -> Sequence[Heartbeat]:
        """The last beat of every worker that has not ended in order, by name."""

    def forget(self, worker: str) -> None: ...

    def forget_silent(self, older_than_s: float) -> int:
        """Forget workers that have long said nothing; how many."""


class Counters(Protocol):
    def add(self, name: str, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Count more under a name and labels; part of the transaction."""

    def add_phase(self, labels: Mapping[str, str], seconds: float) -> None:
        """Count how long a phase has taken."""

    def all(self) -> Sequence[CounterValue]: ...


@dataclass(frozen=True, kw_only=True)
class QueueGauge:
    """Unfinished jobs of one type and status."""

    type: JobType
    status: JobStatus
    jobs: int
    oldest: datetime  # when the oldest of them was ordered


@dataclass(frozen=True, kw_only=True)
class RunningGauge:
    """A claimed job and how far it is."""

    job: JobId
    type: JobType
    owner: str  # `<host>:<supervisor>:<child>`; empty once the claim was given up
    phase: str
    progress: Progress


class Gauges(Protocol):
    """The present state in numbers; cheap enough to be asked every few seconds."""

    def queue(self) -> Sequence[QueueGauge]: ...

    def running(self) -> Sequence[RunningGauge]: ...

    def versions(self) -> Mapping[tuple[str, str], int]:
        """How many versions have a status and a verdict ("" before one)."""

    def alias_moves(self) -> Mapping[str, int]:
        """How often aliases have moved, by kind of move."""
