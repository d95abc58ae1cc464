"""Jobs: their orders, progress, states and transitions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.domain.jobs.order import JobType, Order, OrderT
from core.domain.recipes.choices import Precision
from core.domain.values import Digest, JobId, Json, ModelId, PolicyId, SuiteId
from core.errors import JobFinished

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
    suites: tuple[SuiteId, ...] | None = None  # the model's when it was ordered; None: not judged
    policy: PolicyId | None = None  # likewise
    attempt: int = 0  # claims so far
    lost: int = 0  # claims lost in a row without a new checkpoint or version
    pauses: int = 0  # claims released in a row for lack of storage space, likewise
    fence: int = 0  # rises with every claim; every write of the claimant must match it
    checkpoint: Digest | None = None
    version: int | None = None  # the version an update has made
    retry_of: JobId | None = None
    ordered_by: str | None = None  # `Principal.id`; None: by an earlier release
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
        return replace(
            self,
            status=JobStatus.SUCCEEDED,
            phase="done",
            result=result,
            finished_at=now,
            checkpoint=None,
        )

    def fail(self, error: Json, now: datetime) -> "Job":
        """Return the job as failed: it ended without doing what was ordered."""
        return replace(
            self,
            status=JobStatus.FAILED,
            phase="failed",
            error=error,
            finished_at=now,
            checkpoint=None,
        )

    def cancelled(self, now: datetime) -> "Job":
        """Return the job as cancelled: its worker has stopped on request."""
        return replace(
            self,
            status=JobStatus.CANCELLED,
            phase="cancelled",
            finished_at=now,
            checkpoint=None,
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
