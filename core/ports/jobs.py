"""Ports for jobs, their leases, and the notification of workers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.domain.jobs.event import EventKind, JobEvent
from core.domain.jobs.job import Job, JobStatus, Progress
from core.domain.jobs.order import JobType, Queue
from core.domain.recipes.choices import Precision
from core.domain.values import Digest, JobId, Json, ModelId, PolicyId, SuiteId


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


class Jobs(Protocol):
    def add(self, job: Job) -> None:
        """Add a job. Raises ModelNotFound if its model has just been deleted."""

    def get(self, job: JobId, *, lock: bool = False) -> Job:
        """Return a job; `lock` keeps others from changing it before commit. Raises JobNotFound."""

    def statuses(self, wanted: Collection[JobId]) -> Mapping[JobId, JobStatus]:
        """Return the status of each of some jobs; those that are not there are left out."""

    def page(
        self,
        limit: int,
        after: JobId | None,
        *,
        model: ModelId | None = None,
        job_type: JobType | None = None,
        status: JobStatus | None = None,
    ) -> Sequence[Job]:
        """Return a page of jobs, newest first; `after` is the last id of the page before."""

    def named(self, job: JobId) -> NamedJob:
        """Return a job with values from the rows it refers to. Raises JobNotFound."""

    def named_page(
        self,
        limit: int,
        after: JobId | None,
        *,
        model: ModelId | None = None,
        job_type: JobType | None = None,
        status: JobStatus | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        metadata: tuple[str, str | None] | None = None,
    ) -> Sequence[NamedJob]:
        """Return the page that `page` does, with values from the rows that jobs refer to.

        Jobs were created at `since` or later and before `until`. `metadata` is a key that they
        have, and its value; with None, any value.
        """

    def waiting(self, *, model: ModelId | None = None, ordered_by: str | None = None) -> int:
        """Return the number of queued jobs of a model, or of those that somebody has ordered.

        Until commit nobody else counts, so that two orders cannot both take the last place.
        """

    def claim(
        self, owner: str, lease_s: float, lost_limit: int, queues: Collection[Queue] = tuple(Queue)
    ) -> Job | None:
        """Claim the next claimable job by one conditional update; return None if there is none.

        A job is claimable if it is in one of the queues; is queued and not paused, or
        running/cancelling with an expired lease (by the database's clock); and its lane has no
        earlier unfinished job. Higher priorities come first, then older jobs. The claim sets the
        status (queued becomes running), owner, lease, fence + 1, attempt + 1 and, after an expired
        lease, lost + 1. A job that is lost for the `lost_limit`-th time fails with
        `worker_lost` instead, or is cancelled if that was requested, and the next one is tried.
        """

    def claimable(self, queues: Collection[Queue] = tuple(Queue)) -> set[Queue]:
        """Return the queues in which `claim` would find a job now (cheap; for JobNotifier)."""

    def advance(
        self, job: JobId, fence: int, *, lease_s: float, phase: str, progress: Progress
    ) -> JobStatus:
        """Write progress, renew the lease by fence and return the status. Raises LeaseLost."""

    def renew(self, job: JobId, fence: int, lease_s: float) -> JobStatus:
        """Renew the lease by fence and return the job's status. Raises LeaseLost."""

    def status(self, job: JobId, fence: int) -> JobStatus:
        """Return the status if the fence still holds. Raises LeaseLost."""

    def set_parent(self, job: JobId, fence: int, parent: int) -> None:
        """Set the parent version. Raises LeaseLost."""

    def pin_precision(self, job: JobId, fence: int, precision: Precision) -> None:
        """Pin the precision of an update. Raises LeaseLost."""

    def pin(self, job: JobId, fence: int, *, suites: Sequence[SuiteId], policy: PolicyId) -> None:
        """Pin suites and policy of an update ordered without them. Raises LeaseLost."""

    def set_checkpoint(self, job: JobId, fence: int, checkpoint: Digest) -> None:
        """Record the checkpoint to resume from; set lost and pauses to 0. Raises LeaseLost."""

    def set_version(self, job: JobId, fence: int, version: int) -> None:
        """Record the candidate that a job has published; drop its checkpoint. Raises LeaseLost."""

    def finish(self, job: Job, fence: int) -> None:
        """Write the final state and the event of it, by fence.

        Raises LeaseLost, or CancelRequested if a job that is being cancelled would succeed.
        """

    def cancel(self, job: Job, seen: JobStatus, at: datetime) -> None:
        """Write a cancelled or cancelling job and the event of it, if its status is still `seen`.

        Raises JobFinished otherwise.
        """

    def release(self, job: JobId, fence: int, *, lost: bool = False) -> None:
        """Put a running job back into its queue, counting it as lost or not.

        A job that is being cancelled keeps that status. Raises LeaseLost.
        """

    def pause(self, job: JobId, fence: int, *, phase: str, pause_s: float) -> None:
        """Put a running job back into its queue, not to be claimed for `pause_s` seconds.

        That does not count as lost. The queued job shows the phase. A job that is being cancelled
        keeps that status. Raises LeaseLost.
        """

    def release_owner(self, owner_prefix: str) -> int:
        """Expire the leases of a process that is known to be dead; return how many.

        Owners are `<host>:<supervisor>:<child>`; a supervisor calls it with its own prefix.
        """

    def cancelling_alone(self) -> Sequence[Job]:
        """Return jobs being cancelled that no worker holds: released, or their lease expired."""

    def held(self, owner: str) -> Sequence[HeldJob]:
        """Return the unfinished jobs that an owner has claimed and not released."""

    def live_checkpoints(self) -> set[Digest]:
        """Return the checkpoints that unfinished jobs would resume from."""

    def take_spent_checkpoints(self) -> set[Digest]:
        """Clear the checkpoints of ended jobs; return those that no job resumes from."""

    def add_event(self, job: JobId, kind: EventKind, data: Json, at: datetime) -> JobEvent: ...

    def events(self, job: JobId, limit: int, after: int) -> Sequence[JobEvent]: ...

    def newest_events(self, job: JobId, limit: int) -> Sequence[JobEvent]:
        """Return a job's newest events, newest first."""

    def sampled_events(self, job: JobId, kind: EventKind, most: int) -> Sequence[JobEvent]:
        """Return about `most` of a job's events of a kind, spread evenly, oldest first."""


class JobNotifier(Protocol):
    def notify(self, job: JobId, queue: Queue) -> None:
        """Notify a worker of a queue that a job waits. Never raises: the sweeper repeats it."""
