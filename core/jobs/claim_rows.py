"""Writes to a claimed job, each of which requires the claim's fence."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from pydantic_core import from_json
from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Row,
    Select,
    String,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from core.database.engine import epoch_now, read_clock
from core.database.statements import KEPT, LONGEST, increase
from core.database.tables import counters, job_events, jobs, lane_of
from core.database.work import Rows
from core.errors import CancelRequested, JobNotFound, LeaseLost
from core.jobs.orders import JobType, Order, Queue, order_from_json, order_to_json
from core.jobs.rules import (
    JOBS_ENDED,
    PHASE_SECONDS,
    CounterValue,
    EventKind,
    Job,
    JobEvent,
    JobStatus,
    Progress,
    duration,
    job_ended,
)
from core.outbox.rows import Outbox
from core.recipes.fields import Precision
from core.values import Digest, JobId, Json, PolicyId, SuiteId

# Cached parsing of stored recipes and orders, whose text never changes.
#
# Without the cache, parsing takes half of the time of reading a page of jobs or versions. The
# values are frozen and can be shared. Long texts (a recipe may list 100,000 sentences) are parsed
# each time.


def parse_order(text: str, job_type: JobType) -> Order:
    """Return the order stored with a job."""
    return _order(text, job_type) if len(text) <= LONGEST else _order.__wrapped__(text, job_type)


@lru_cache(KEPT)
def _order(text: str, job_type: JobType) -> Order:
    return order_from_json(job_type, from_json(text))


# Conversion of jobs and their events to and from rows.


UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING)

CLAIMED = (JobStatus.RUNNING, JobStatus.CANCELLING)

_FIELDS = {column.name: column for column in jobs.c if column.name in Job.__dataclass_fields__}

_NAMES = tuple(_FIELDS)

# For `to_job`. The order is parsed there, by a cache of its own.
JOB_COLUMNS = tuple((_FIELDS | {"order": cast(jobs.c.order, Text), "lane": lane_of(jobs)}).values())


def to_row(job: Job) -> dict[str, Any]:
    """Return the column values of a new job."""
    return {
        **vars(job),
        "order": order_to_json(job.order),
        "progress": progress_to_json(job.progress),
        "suites": None if job.suites is None else list(job.suites),
        "result": job.result,
        "error": job.error,
        "metadata": dict(job.metadata),
        "events": 0,
    }


def to_job(row: Row[Any]) -> Job:
    """Return the job of a row that begins with JOB_COLUMNS."""
    values = dict(zip(_NAMES, row, strict=False))
    job_type, suites = JobType(values["type"]), values["suites"]
    return Job(
        **values
        | {
            "type": job_type,
            "order": parse_order(values["order"], job_type),
            "status": JobStatus(values["status"]),
            "progress": Progress(**values["progress"]),
            "suites": None if suites is None else tuple(suites),
            "precision": values["precision"] and Precision(values["precision"]),
        }
    )


def to_event(row: Row[Any]) -> JobEvent:
    """Return the event of a row."""
    return JobEvent(**row._mapping)


def progress_to_json(progress: Progress) -> dict[str, Any]:
    """Return progress as JSON, without loss terms that are not finite, which JSON lacks."""
    terms = {name: value for name, value in progress.terms.items() if math.isfinite(value)}
    return {**vars(progress), "terms": terms}


# Events of jobs, numbered without gaps.


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


# Counters of events, updated as they happen so that reads never scan history.


class Counters(Rows):
    """The `Counters` port over SQL."""

    def add(self, name: str, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Add to the counter with this name and labels, as part of the transaction."""
        key = {"name": name, "labels": json.dumps(labels, sort_keys=True)}
        increase(self._connection, counters, key, "value", amount)

    def add_phase(self, labels: Mapping[str, str], seconds: float) -> None:
        """Count the duration of a phase."""
        for part, amount in duration(labels, max(0.0, seconds)):
            self.add(PHASE_SECONDS, part, amount)

    def add_ended(self, job: Job) -> None:
        """Count a job that has ended."""
        verdict = (job.result or {}).get("verdict") or ""
        labels = {"type": job.type.value, "status": job.status.value, "verdict": verdict}
        self.add(JOBS_ENDED, labels)

    def all(self) -> Sequence[CounterValue]:
        """Return all counters: a few rows per name."""
        query = select(counters).order_by(counters.c.name, counters.c.labels)
        return [
            CounterValue(name=row.name, labels=json.loads(row.labels), value=row.value)
            for row in self._connection.execute(query)
        ]


class SqlHeldJobs(Rows):
    """The part of the `Jobs` port that the worker with the claim uses."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._events = SqlJobEvents(connection)
        self._counters = Counters(connection)
        self._outbox = Outbox(connection)

    def advance(
        self, job: JobId, fence: int, *, lease_s: float, phase: str, progress: Progress
    ) -> JobStatus:
        """Write progress and renew the lease, by fence; return the status. Raises LeaseLost."""
        return self._write(
            job,
            fence,
            phase=phase,
            progress=progress_to_json(progress),
            lease_until=epoch_now() + lease_s,
        )

    def renew(self, job: JobId, fence: int, lease_s: float) -> JobStatus:
        """Renew the lease, by fence; return the status. Raises LeaseLost."""
        return self._write(job, fence, lease_until=epoch_now() + lease_s)

    def status(self, job: JobId, fence: int) -> JobStatus:
        """Return the status if the fence still holds. Raises LeaseLost."""
        query = select(jobs.c.status).where(
            jobs.c.id == job, jobs.c.fence == fence, jobs.c.status.in_(CLAIMED)
        )
        return _require_held(self._connection.scalar(query), job, fence)

    def set_parent(self, job: JobId, fence: int, parent: int) -> None:
        """Fix the parent version. Raises LeaseLost."""
        self._write(job, fence, parent_version=parent)

    def pin_precision(self, job: JobId, fence: int, precision: Precision) -> None:
        """Fix the precision in which an update computes. Raises LeaseLost."""
        self._write(job, fence, precision=precision)

    def pin(self, job: JobId, fence: int, *, suites: Sequence[SuiteId], policy: PolicyId) -> None:
        """Fix the suites and policy of an update ordered without them. Raises LeaseLost."""
        self._write(job, fence, suites=list(suites), policy=policy)

    def set_checkpoint(self, job: JobId, fence: int, checkpoint: Digest) -> None:
        """Record the checkpoint to resume from; reset `lost` and `pauses`. Raises LeaseLost."""
        self._write(job, fence, checkpoint=checkpoint, lost=0, pauses=0)

    def set_version(self, job: JobId, fence: int, version: int) -> None:
        """Record the published candidate, drop the checkpoint, reset `lost` and `pauses`.

        Raises LeaseLost.
        """
        self._write(job, fence, version=version, checkpoint=None, lost=0, pauses=0)

    def finish(self, job: Job, fence: int) -> None:
        """Write the final state and the event of it, by fence.

        Raises LeaseLost, and CancelRequested if a job that is being cancelled would succeed.
        """
        status = self._write(job.id, fence, fence=fence)  # locked from here on
        if status is JobStatus.CANCELLING and job.status is JobStatus.SUCCEEDED:
            raise CancelRequested
        self._write(
            job.id,
            fence,
            status=job.status,
            phase=job.phase,
            result=job.result,
            error=job.error,
            finished_at=job.finished_at,
            checkpoint=job.checkpoint,
            owner=None,
            lease_until=None,
        )
        self._record_end(job, EventKind.DONE, job.outcome)

    def release(self, job: JobId, fence: int, *, lost: bool = False) -> None:
        """Give a running job back to the queue, counting it as lost or not.

        A job that is being cancelled keeps that status until it is ended. Raises LeaseLost.
        """
        self._give_back(job, fence, lost=jobs.c.lost + int(lost))

    def pause(self, job: JobId, fence: int, *, phase: str, pause_s: float) -> None:
        """Give a running job back to the queue; it cannot be claimed for `pause_s` seconds.

        A job that is being cancelled keeps that status. Raises LeaseLost.
        """
        until, pauses = epoch_now() + pause_s, jobs.c.pauses + 1
        self._give_back(job, fence, phase=phase, pauses=pauses, paused_until=until)

    def add_event(self, job: JobId, kind: EventKind, data: Json, at: datetime) -> JobEvent:
        """Add the next event of a job's history. Raises JobNotFound."""
        return self._events.add(job, kind, data, at)

    def _record_end(self, job: Job, kind: EventKind, data: Json) -> None:
        """Add the last event of a job, count the job as ended, and tell webhooks."""
        if job.finished_at is None:
            raise ValueError("an ended job needs finished_at")
        self.add_event(job.id, kind, data, job.finished_at)
        self._counters.add_ended(job)
        self._outbox.add(job_ended(job))

    def _give_back(self, job: JobId, fence: int, **values: Any) -> None:
        """Write that no worker holds the job any more. Raises LeaseLost."""
        running = jobs.c.status == JobStatus.RUNNING
        self._write(
            job,
            fence,
            status=case((running, JobStatus.QUEUED.value), else_=jobs.c.status),
            fence=fence + 1,
            owner=None,
            lease_until=None,
            **values,
        )

    def _write(self, job: JobId, held: int, /, **values: Any) -> JobStatus:
        """Write to a claimed job if the fence still holds; return the status. Raises LeaseLost."""
        written = self._connection.scalar(
            update(jobs)
            .where(jobs.c.id == job, jobs.c.fence == held, jobs.c.status.in_(CLAIMED))
            .values(values)
            .returning(jobs.c.status)
        )
        return _require_held(written, job, held)


def _require_held(status: str | None, job: JobId, fence: int) -> JobStatus:
    if status is None:
        raise LeaseLost(job=job, fence=fence)
    return JobStatus(status)


# The choice of the next job, and the conditional update that claims it.
#
# A lane's *head* is its claimed job or, without one, its oldest queued job. Only heads can be
# claimed, so the jobs of one lane run one at a time, in order of arrival. The index
# `ix_jobs_heads` leads from one lane with unfinished jobs to the next and, in each, to its head:
# the cost of a claim grows with neither the waiting jobs of a lane nor the ended jobs (`make
# bench-queue`). Among heads, a higher priority goes first; within a lane, priority has no effect.


_others = jobs.alias("others")

# Rendered into the SQL, since neither database would match a parameter to the partial index.
_QUEUED = literal(JobStatus.QUEUED.value, String, literal_execute=True)

_UNFINISHED: BindParameter[list[str]] = bindparam(
    "unfinished", [status.value for status in UNFINISHED], expanding=True, literal_execute=True
)

_IS_UNFINISHED = _others.c.status.in_(_UNFINISHED)


def _lanes() -> CTE:
    """Select the lanes that have unfinished jobs, each as the first after the one before.

    The first row is empty and the last null: neither is a lane.
    """
    lanes = select(literal("", Text).label("lane")).cte("lanes", recursive=True)
    following = select(func.min(lane_of(_others))).where(
        lane_of(_others) > lanes.c.lane, _IS_UNFINISHED
    )
    return lanes.union_all(select(following.scalar_subquery()).where(lanes.c.lane.is_not(None)))


def _head(lane: ColumnElement[str]) -> ColumnElement[int]:
    """Return the position of a lane's head."""
    return (
        select(_others.c.position)
        .where(lane_of(_others) == lane, _IS_UNFINISHED)
        .order_by(_others.c.status == _QUEUED, _others.c.position)
        .limit(1)
        .scalar_subquery()
    )


def abandoned(job: FromClause) -> ColumnElement[bool]:
    """Return the condition that a job was claimed and has been given back or lost since."""
    expired = or_(job.c.lease_until.is_(None), job.c.lease_until < epoch_now())
    return and_(job.c.status.in_(CLAIMED), expired)


def _claimable(job: FromClause) -> ColumnElement[bool]:
    paused = and_(job.c.paused_until.is_not(None), job.c.paused_until > epoch_now())
    return or_(and_(job.c.status == JobStatus.QUEUED, not_(paused)), abandoned(job))


def claimable_heads(connection: Connection, queues: Collection[Queue]) -> Select[Any]:
    """Select positions of the jobs that may be claimed now, in the order to claim."""
    return _claimable_heads(connection.dialect.name, frozenset(queues))


# Building this statement takes several times as long as running it.
@cache
def _claimable_heads(dialect: str, queues: Collection[Queue]) -> Select[Any]:
    """Select what `claimable_heads` does, for a kind of database.

    PostgreSQL may plan a join with heads as a scan of all jobs, but looks up an array by index.
    """
    lanes = _lanes()
    heads = select(_head(lanes.c.lane)).select_from(lanes)
    if dialect == "postgresql":
        is_head = jobs.c.position == any_(func.array(heads.scalar_subquery()))
    else:
        is_head = jobs.c.position.in_(heads)
    types = [job_type for job_type in JobType if job_type.queue in queues]
    return (
        select(jobs.c.position)
        .where(is_head, _claimable(jobs), jobs.c.type.in_(types))
        .order_by(jobs.c.priority.desc(), jobs.c.position)
    )


def is_claimable(connection: Connection, queue: Queue) -> bool:
    """Return whether a job of the queue may be claimed now."""
    return connection.execute(claimable_heads(connection, [queue]).limit(1)).first() is not None


def lock_next(connection: Connection, queues: Collection[Queue]) -> int | None:
    """Return the position of the next claimable job, and lock it against other claims.

    Only PostgreSQL locks, and skips jobs that another claim has locked; SQLite's write
    transactions run one at a time anyway.
    """
    position: int | None = connection.scalar(
        claimable_heads(connection, queues)
        .limit(1)
        .with_for_update(of=jobs, skip_locked=True, key_share=True)
    )
    return position


def take(connection: Connection, position: int, owner: str, lease_s: float) -> Job | None:
    """Claim the job if it is still a claimable head, counting an expired lease as a loss.

    Two jobs can be taken for the head at once on PostgreSQL, if the one that arrived first was
    committed last. The index `ux_jobs_claimed` lets only one of them be claimed.
    """
    try:
        with connection.begin_nested():
            row = connection.execute(_claim(connection, position, owner, lease_s)).first()
    except IntegrityError:
        return None
    return to_job(row) if row is not None else None


def _claim(connection: Connection, position: int, owner: str, lease_s: float) -> Executable:
    lost = and_(abandoned(jobs), jobs.c.lease_until.is_not(None))
    return (
        update(jobs)
        .where(
            jobs.c.position == position,
            _claimable(jobs),
            jobs.c.position == _head(lane_of(jobs)),
        )
        .values(
            status=case(
                (jobs.c.status == JobStatus.QUEUED, JobStatus.RUNNING.value), else_=jobs.c.status
            ),
            phase="claimed",
            owner=owner,
            lease_until=epoch_now() + lease_s,
            fence=jobs.c.fence + 1,
            attempt=jobs.c.attempt + 1,
            lost=jobs.c.lost + case((lost, 1), else_=0),
            started_at=func.coalesce(jobs.c.started_at, read_clock(connection)),
        )
        .returning(*JOB_COLUMNS)
    )
