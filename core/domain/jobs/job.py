"""Jobs: their orders, progress, states and transitions."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from core.domain.datasets.dataset import DatasetRef
from core.domain.recipes.choices import Precision
from core.domain.recipes.recipe import Recipe
from core.domain.values import DatasetId, Digest, JobId, Json, ModelId, PolicyId, SuiteId
from core.errors import JobFinished

FIRST_PAUSE_S, LONGEST_PAUSE_S = 4.0, 128.0


class Queue(StrEnum):
    """The queue of a job, which determines the workers that may claim it."""

    GPU = "gpu"  # hours on a device
    HOUSEKEEPING = "housekeeping"  # minutes on a CPU, which should not wait for those hours


class JobType(StrEnum):
    """What a job does."""

    IMPORT = "import"  # makes a model's root from a base
    UPDATE = "update"  # trains a version and has it scored
    EVALUATE = "evaluate"  # scores a version again

    @property
    def queue(self) -> Queue:
        """The queue of such a job."""
        return Queue.HOUSEKEEPING if self is JobType.IMPORT else Queue.GPU


class JobStatus(StrEnum):
    """The six states, for ever; finer news is the phase."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def done(self) -> bool:
        """Whether the status is final."""
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


class EventKind(StrEnum):
    """What an event of a job's history reports."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    PHASE = "phase"
    PROGRESS = "progress"
    CHECKPOINT = "checkpoint"
    CHECKPOINT_SKIPPED = "checkpoint_skipped"  # the store had no room for one
    CANDIDATE = "candidate"  # an update has made its version
    OUT_OF_MEMORY = "out_of_memory"  # the job goes on with smaller batches
    SLOW_PRECISION = "slow_precision"
    ENVIRONMENT_CHANGED = "environment_changed"
    RELEASED = "released"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"  # before any worker claimed it
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class ImportOrder:
    """An order to make version 1 of a model from a base.

    Bases are 'bundled', 'name:pretrained' or a folder.
    """

    base: str


@dataclass(frozen=True, kw_only=True)
class UpdateOrder:
    """An order to teach the classes of a dataset version."""

    dataset: DatasetId
    dataset_version: int
    recipe: Recipe
    alias: str = "production"
    parent: int | None = None  # None: the alias's version at the time of the claim
    auto_promote: bool = True
    prompt: str | None = None  # None: the parent's
    reference: DatasetRef | None = None  # the reference set that method "zscl" distils


@dataclass(frozen=True, kw_only=True)
class EvaluateOrder:
    """An order to score a version on the model's suites, by its policy, as of the order."""

    version: int
    alias: str = "production"  # whose live version it would replace


Order = ImportOrder | UpdateOrder | EvaluateOrder
OrderT = TypeVar("OrderT", ImportOrder, UpdateOrder, EvaluateOrder)


def order_to_json(order: Order) -> dict[str, Any]:
    """Return an order as plain JSON, for storage."""
    value = dict(vars(order))
    if isinstance(order, UpdateOrder):
        value["recipe"] = order.recipe.to_json()
        value["reference"] = order.reference and dict(vars(order.reference))
    return value


def order_from_json(job_type: JobType, value: Json) -> Order:
    """Return the order that `order_to_json` wrote."""
    match job_type:
        case JobType.IMPORT:
            return ImportOrder(**value)
        case JobType.UPDATE:
            reference = value.get("reference")  # orders of an earlier release have none
            recipe = Recipe.from_json(value["recipe"])
            named = DatasetRef(**reference) if reference else None
            return UpdateOrder(**{**value, "recipe": recipe, "reference": named})
        case JobType.EVALUATE:
            return EvaluateOrder(**value)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is within its phase."""

    step: int = 0
    total: int = 0
    eta_s: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)  # last loss terms, by name


@dataclass(frozen=True, kw_only=True)
class Job:
    """A unit of work, owned by the database; a broker message only notifies workers of it."""

    id: JobId
    type: JobType
    model: ModelId
    order: Order
    priority: int = 0  # 0 to 9: among the models' next jobs, the highest runs first
    status: JobStatus = JobStatus.QUEUED
    phase: str = "queued"
    progress: Progress = field(default_factory=Progress)
    parent_version: int | None = None  # resolved at the first claim, then fixed
    precision: Precision | None = None  # of an update, resolved at the first claim, then fixed
    suites: tuple[SuiteId, ...] | None = None  # the model's when it was ordered; None: an import
    policy: PolicyId | None = None  # likewise
    attempt: int = 0  # claims so far
    lost: int = 0  # claims lost in a row without a new checkpoint or version
    pauses: int = 0  # claims released in a row for lack of storage space, likewise
    fence: int = 0  # rises with every claim; every write of the claimant must match it
    checkpoint: Digest | None = None
    version: int | None = None  # the version an update has made
    retry_of: JobId | None = None
    result: Json | None = None  # {"version", "report", "verdict"}
    error: Json | None = None  # {"code", "message", ...facts}
    metadata: Mapping[str, str] = field(default_factory=dict)
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


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """An event in a job's history; `sequence` counts from 1 within the job."""

    job: JobId
    sequence: int
    kind: str  # an EventKind, or one that a later release has written
    data: Json
    at: datetime
