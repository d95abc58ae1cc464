"""The rows of jobs, who holds them, and the bell that tells of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.jobs.job import EventKind, Job, JobEvent, JobStatus, JobType, Progress, Queue
from core.domain.recipes.recipe import Precision
from core.domain.values import Digest, JobId, Json, ModelId, PolicyId, SuiteId


@dataclass(frozen=True, kw_only=True)
class HeldJob:
    """A job that a process has claimed, as its supervisor sees it."""

    id: JobId
    status: JobStatus
    lease_s: float  # seconds left, by the database's clock; negative once it has run out


@dataclass(frozen=True, kw_only=True)
class NamedJob:
    """A job, and what its row only refers to."""

    job: Job
    model: str  # the model's name
    parent_digest: Digest | None  # of the parent version, once that is fixed


class Jobs(Protocol):
    def add(self, job: Job) -> None: ...

    def get(self, job: JobId, *, lock: bool = False) -> Job:
        """A job; with `lock` nobody else changes it before commit. Raises JobNotFound."""

    def page(
        self,
        limit: int,
        after: JobId | None,
        *,
        model: ModelId | None = None,
        job_type: JobType | None = None,
        status: JobStatus | None = None,
    ) -> Sequence[Job]:
        """Newest first; `after` is the last id of the page before."""

    def named(self, job: JobId) -> NamedJob:
        """A job with what its row refers to. Raises JobNotFound."""

    def named_page(
        self,
        limit: int,
        after: JobId | None,
        *,
        model: ModelId | None = None,
        job_type: JobType | None = None,
        status: JobStatus | None = None,
    ) -> Sequence[NamedJob]:
        """The same page with what the rows refer to."""

    def claim(
        self, owner: str, lease_s: float, lost_limit: int, queues: Collection[Queue] = tuple(Queue)
    ) -> Job | None:
        """Claim the next claimable job by one conditional update; None when there is none.

        Claimable: in one of the queues; queued and not paused, or running/cancelling with an
        expired lease (by the database's clock); and no earlier unfinished job of the same model.
        The highest priority is next, and the oldest of those that have it. The claim sets the
        status (queued becomes running), owner, lease, fence + 1, attempt + 1 and, after an expired
        lease, lost + 1. A job that is lost for the `lost_limit`-th time fails with
        `worker_lost` instead, or is cancelled if that was asked for, and the next one is tried.
        """

    def claimable(self, queues: Collection[Queue] = tuple(Queue)) -> set[Queue]:
        """In which of the queues `claim` would find something now (cheap; for the doorbell)."""

    def advance(
        self, job: JobId, fence: int, *, lease_s: float, phase: str, progress: Progress
    ) -> JobStatus:
        """Write progress and renew the lease, by fence; the job's status. Raises LeaseLost."""

    def renew(self, job: JobId, fence: int, lease_s: float) -> JobStatus:
        """Renew the lease, by fence; the job's status. Raises LeaseLost."""

    def status(self, job: JobId, fence: int) -> JobStatus:
        """The status, if the fence still holds. Raises LeaseLost."""

    def set_parent(self, job: JobId, fence: int, parent: int) -> None:
        """Raises LeaseLost."""

    def pin_precision(self, job: JobId, fence: int, precision: Precision) -> None:
        """Fix the arithmetic that an update computes in. Raises LeaseLost."""

    def pin(self, job: JobId, fence: int, *, suites: Sequence[SuiteId], policy: PolicyId) -> None:
        """Fix what an update that was ordered without them is judged by. Raises LeaseLost."""

    def set_checkpoint(self, job: JobId, fence: int, checkpoint: Digest) -> None:
        """Record the checkpoint that counts; set lost and pauses to 0. Raises LeaseLost."""

    def set_version(self, job: JobId, fence: int, version: int) -> None:
        """Record the candidate the job has published, drop its checkpoint. Raises LeaseLost."""

    def finish(self, job: Job, fence: int) -> None:
        """Write the final state and the event of it, by fence.

        Raises LeaseLost, and CancelRequested rather than let a job succeed that is being
        cancelled.
        """

    def cancel(self, job: Job, seen: JobStatus) -> None:
        """Write a cancelled or cancelling job and the event of it, if its status is still `seen`.

        Raises JobFinished otherwise.
        """

    def release(self, job: JobId, fence: int, *, lost: bool = False) -> None:
        """Give a running job back to the queue, counting it as lost or not.

        One that is being cancelled keeps that status. Raises LeaseLost.
        """

    def pause(self, job: JobId, fence: int, *, phase: str, pause_s: float) -> None:
        """Give a running job back to the queue; nobody claims it before `pause_s` have passed.

        That is not a loss. The queued job shows the phase. One that is being cancelled keeps
        that status. Raises LeaseLost.
        """

    def release_owner(self, owner_prefix: str) -> int:
        """Expire the leases of a process that is known to be dead; how many.

        Owners are `<host>:<supervisor>:<child>`; a supervisor calls it with its own prefix.
        """

    def cancelling_alone(self) -> Sequence[Job]:
        """Jobs that are being cancelled and that no worker holds: given back, or lease expired."""

    def held(self, owner: str) -> Sequence[HeldJob]:
        """The unfinished jobs that this owner has claimed and not given back."""

    def live_checkpoints(self) -> set[Digest]:
        """Checkpoints that unfinished jobs would resume from."""

    def take_spent_checkpoints(self) -> set[Digest]:
        """Checkpoints that ended jobs have left and nobody resumes from; then forgotten."""

    def add_event(self, job: JobId, kind: EventKind, data: Json, at: datetime) -> JobEvent: ...

    def events(self, job: JobId, limit: int, after: int) -> Sequence[JobEvent]: ...


class JobNotifier(Protocol):
    def notify(self, job: JobId, queue: Queue) -> None:
        """Tell some worker of a queue to look for work. Never raises: the sweeper rings again."""
