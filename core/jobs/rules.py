"""Jobs: their states and transitions, their events, and what is counted of them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from core.errors import JobFinished
from core.jobs.orders import JobType, Order, OrderT, Queue
from core.outbox.rules import EventType, OutboxEvent
from core.recipes.fields import Precision
from core.values import Digest, JobId, Json, ModelId, PolicyId, SuiteId, new_id

FIRST_PAUSE_S, LONGEST_PAUSE_S = 4.0, 128.0


class JobStatus(StrEnum):
    """The six states of a job; the phase says more."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def done(self) -> bool:
        """True if the status is final."""
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a job within its phase."""

    step: int = 0
    total: int = 0
    eta_s: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)  # last loss terms, by name


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The versions, beside parent and root, and images by which an update is fitted to its policy.

    It is fixed at its first claim, so that the update takes the same share if it is resumed after
    others went live, or after more images were added to holdouts.
    """

    live: int | None = None
    inherited: tuple[int, ...] = ()  # the versions whose updates the live one inherits
    lost: tuple[int, ...] = ()  # those of them that this update's line lacks, oldest first
    # The settled version of each holdout, by the number of the version that learned it.
    settled: Mapping[str, int] = field(default_factory=dict)
    added: tuple[SuiteId, ...] = ()  # the editions of what was added to the holdouts

    @property
    def asked(self) -> set[int]:
        """The numbers of the versions whose weights are needed."""
        return {*self.settled.values(), *([self.live] if self.live is not None else [])}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A unit of work, owned by the database; a broker message only notifies workers of it."""

    id: JobId
    type: JobType
    model: ModelId | None  # None: the job belongs to no model
    lane: str  # jobs of a lane run one at a time, in order of arrival; a model's lane is its id
    order: Order
    priority: int = 0  # 0 to 9: among the lanes' next jobs, the highest runs first
    status: JobStatus = JobStatus.QUEUED
    phase: str = "queued"
    progress: Progress = field(default_factory=Progress)
    parent_version: int | None = None  # resolved at the first claim, then fixed
    precision: Precision | None = None  # of an update, resolved at the first claim, then fixed
    beside: Beside | None = None  # of an update that is to fit its policy, likewise
    suites: tuple[SuiteId, ...] | None = None  # the model's when it was ordered; None: not judged
    policy: PolicyId | None = None  # likewise
    attempt: int = 0  # claims so far
    lost: int = 0  # claims lost in a row without a new checkpoint or version
    pauses: int = 0  # claims released in a row for lack of storage space, likewise
    fence: int = 0  # rises with every claim; every write of the claimant must match it
    checkpoint: Digest | None = None
    version: int | None = None  # the version an update has made
    retry_of: JobId | None = None
    ordered_by: str | None = None  # `Principal.id`
    result: Json | None = None  # {"version", "report", "verdict"}, or what its type has instead
    error: Json | None = None  # {"code", "message", ...facts}
    metadata: Mapping[str, str] = field(default_factory=dict)
    trace: str | None = None  # the span of the request that ordered it, as a traceparent
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def cancel(self, now: datetime) -> "Job":
        """Cancel a queued job at once; mark a running one for its worker to stop.

        Raises JobFinished when the job has ended or is being cancelled already.
        """
        match self.status:
            case JobStatus.QUEUED:
                return replace(self, status=JobStatus.CANCELLED, phase="cancelled", finished_at=now)
            case JobStatus.RUNNING:
                return replace(self, status=JobStatus.CANCELLING)
            case _:
                raise JobFinished(status=self.status.value)

    @property
    def pause_s(self) -> float:
        """The wait in seconds before the next attempt, after a lack of storage space."""
        return min(FIRST_PAUSE_S * 2.0**self.pauses, LONGEST_PAUSE_S)

    @property
    def outcome(self) -> dict[str, Any]:
        """The end of the job as its last event reports it."""
        error = {"error": self.error} if self.error else {}
        return {"status": self.status.value, **(self.result or {}), **error}

    def succeed(self, result: Json, now: datetime) -> "Job":
        """Return the job as succeeded: it did what was ordered, even if the gate failed."""
        return self._ended(JobStatus.SUCCEEDED, "done", now, result=result)

    def fail(self, error: Json, now: datetime) -> "Job":
        """Return the job as failed: it ended without doing what was ordered."""
        return self._ended(JobStatus.FAILED, "failed", now, error=error)

    def cancelled(self, now: datetime) -> "Job":
        """Return the job as cancelled: its worker has stopped on request."""
        return self._ended(JobStatus.CANCELLED, "cancelled", now)

    def _ended(self, status: JobStatus, phase: str, now: datetime, **outcome: Any) -> "Job":
        return replace(
            self, status=status, phase=phase, finished_at=now, checkpoint=None, **outcome
        )


def order_of(job: Job, kind: type[OrderT]) -> OrderT:
    """Return a job's order, whose kind the type of the job tells. Raises TypeError otherwise."""
    if not isinstance(job.order, kind):
        raise TypeError(f"a job of type {job.type} has no {kind.__name__}")
    return job.order


def model_of(job: Job) -> ModelId:
    """Return the model of a job whose type has one. Raises TypeError otherwise."""
    if job.model is None:
        raise TypeError(f"job {job.id} is without a model")
    return job.model


@dataclass(frozen=True, kw_only=True)
class HeldJob:
    """A job that a process has claimed, as its supervisor sees it."""

    id: JobId
    status: JobStatus
    lease_s: float  # seconds left, by the database's clock; negative once it has run out


@dataclass(frozen=True, kw_only=True)
class NamedJob:
    """A job with values from the rows that it refers to."""

    job: Job
    model: str | None  # the model's name, if the job has one
    parent_digest: Digest | None  # of the parent version, once that is fixed


# Events: the history of a job.


class EventKind(StrEnum):
    """Kinds of events in a job's history."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    PHASE = "phase"
    PROGRESS = "progress"
    COLUMNS = "columns"  # which an import reads of a table
    CHECKPOINT = "checkpoint"
    CHECKPOINT_SKIPPED = "checkpoint_skipped"  # the store had no room for one
    CANDIDATE = "candidate"  # an update has made its version
    LEFT_OUT = "left_out"  # a blame has trained without a group and asked about the class
    OUT_OF_MEMORY = "out_of_memory"  # the job goes on with smaller batches
    SLOW_PRECISION = "slow_precision"
    ENVIRONMENT_CHANGED = "environment_changed"
    RELEASED = "released"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"  # before any worker claimed it
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """An event in a job's history; `sequence` counts from 1 within the job."""

    job: JobId
    sequence: int
    kind: str  # an EventKind, or one that a later release has written
    data: Json
    at: datetime


# Counters, and the histogram buckets of durations.

# Upper bounds in seconds: from an immediate claim to a night of training.
BUCKETS = (0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0, math.inf)

JOBS_ENDED = "jobs_ended"  # by type, status and, if judged, verdict
PHASE_SECONDS = "phase_seconds"  # by type and phase; "queued" is the wait for the first claim


@dataclass(frozen=True, kw_only=True)
class CounterValue:
    """The value of the counter of a name and labels since the database was created."""

    name: str
    labels: Mapping[str, str]
    value: float


def duration(
    labels: Mapping[str, str], seconds: float
) -> Iterator[tuple[Mapping[str, str], float]]:
    """Yield what a duration adds to its counters: 1 to its bucket, its seconds to the sum."""
    bound = next(bound for bound in BUCKETS if seconds <= bound)
    yield {**labels, "le": str(bound)}, 1.0
    yield {**labels, "sum": ""}, seconds


# The event that webhooks receive.


def job_ended(job: Job) -> OutboxEvent:
    """Return the event of a job that has ended."""
    if job.finished_at is None:
        raise ValueError("an ended job needs finished_at")
    links = {"job": f"/v1/jobs/{job.id}"}
    if job.model is not None:
        links["model"] = f"/v1/models/{job.model}"
    return OutboxEvent(
        id=new_id("evt", job.finished_at),
        type=EventType(f"job.{job.status.value}"),
        object=job.id,
        model=job.model,
        data={
            "job": job.id,
            "job_type": job.type.value,
            "model": job.model,
            "version": (job.result or {}).get("version") or job.version,
            "links": links,
        },
        at=job.finished_at,
    )


# What a job reports to, and what tells workers of it.


class Monitor(Protocol):
    """The progress of a running job: reports renew its lease, and raise when it must stop."""

    def advance(
        self, phase: str, step: int, total: int, terms: Mapping[str, float] | None = None
    ) -> None:
        """Report progress. Raises LeaseLost, CancelRequested or StopRequested."""

    def checkpoint_due(self) -> bool:
        """Return whether enough time has passed since the last, or the worker is about to stop."""

    def moved(self, count: int) -> None:
        """Report bytes of an artifact in transfer (`BytesCallback`).

        Raises LeaseLost or CancelRequested.
        """

    def save_checkpoint(self, digest: Digest, step: int) -> None:
        """Record a stored checkpoint as the one to resume from. Raises LeaseLost."""

    def skip_checkpoint(self, step: int, facts: Json) -> None:
        """Report that the store had no room for a checkpoint; postpone the next one.

        Raises LeaseLost or StopRequested.
        """

    def emit(self, kind: EventKind, data: Json) -> None:
        """Add an event to the job's history. Raises LeaseLost."""


class JobNotifier(Protocol):
    def notify(self, job: JobId, queue: Queue) -> None:
        """Notify a worker of a queue that a job waits. Never raises: the sweeper repeats it."""
