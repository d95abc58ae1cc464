"""Rows of jobs: the queue and its history."""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Self, TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.exc import IntegrityError

from core.database.engine import epoch_now, read_clock
from core.database.statements import LONGEST, chunks
from core.database.tables import job_metadata, jobs, models, versions
from core.database.work import Work
from core.errors import JobFinished, JobNotFound, ModelNotFound
from core.jobs import claims
from core.jobs.claim_rows import (
    CLAIMED,
    JOB_COLUMNS,
    ORDER_TEXT,
    UNFINISHED,
    HeldJobRows,
    to_job,
    to_row,
)
from core.jobs.orders import JobType, Queue
from core.jobs.rules import EventKind, HeldJob, Job, JobStatus, NamedJob
from core.values import Digest, JobId, ModelId

_COUNTING = 0x5761_6974_696E_6700  # the advisory lock of orders on PostgreSQL


class JobFilter(TypedDict, total=False):
    """The conditions on the jobs of a list; None, as when left out: no condition."""

    model: ModelId | None
    job_type: JobType | None
    status: JobStatus | None
    since: datetime | None  # created at this time or later
    until: datetime | None  # created before
    metadata: tuple[str, str | None] | None  # a key, and its value; None: any value


class Jobs(HeldJobRows):
    """Rows of jobs; with `visible`, the jobs of other models are not there."""

    @classmethod
    def open(cls, work: Work) -> Self:
        """Return the rows in a transaction."""
        return cls(work.connection, work.principal.models)

    def __init__(
        self, connection: sa.Connection, visible: Collection[ModelId] | None = None
    ) -> None:
        super().__init__(connection)
        self._visible = visible

    def add(self, job: Job) -> None:
        """Put a job at the end of the queue.

        Raises ModelNotFound when another transaction has just deleted its model.
        """
        try:
            self._connection.execute(sa.insert(jobs).values(to_row(job)))
        except IntegrityError as error:
            raise ModelNotFound(model=job.model) from error

    def get(self, job: JobId, *, lock: bool = False) -> Job:
        """Return a job; `lock` keeps others from changing it until commit. Raises JobNotFound."""
        query = sa.select(*JOB_COLUMNS).where(jobs.c.id == job)
        if lock:  # SQLite's write transactions run one at a time anyway
            query = query.with_for_update(key_share=True)
        row = self._connection.execute(query).first()
        if row is None:
            raise JobNotFound(job=job)
        found = to_job(row)
        self._require_visible(found)
        return found

    def statuses(self, wanted: Collection[JobId]) -> dict[JobId, JobStatus]:
        """Return the status of each of some jobs; those that are not there are left out."""
        found: dict[JobId, JobStatus] = {}
        for chunk in chunks(wanted):
            query = sa.select(jobs.c.id, jobs.c.status).where(jobs.c.id.in_(chunk))
            found.update((row.id, JobStatus(row.status)) for row in self._connection.execute(query))
        return found

    def page(self, limit: int, after: JobId | None, **wanted: Unpack[JobFilter]) -> Sequence[Job]:
        """Return a page of jobs, newest first; `after` is the last id of the previous page."""
        return [found.job for found in self.named_page(limit, after, **wanted)]

    def named(self, job: JobId) -> NamedJob:
        """Return a job with its model's name and parent's digest. Raises JobNotFound."""
        row = self._connection.execute(_ONE, {"job": job}).first()
        if row is None:
            raise JobNotFound(job=job)
        found = _to_named(row)
        self._require_visible(found.job)
        return found

    def named_page(
        self, limit: int, after: JobId | None, **wanted: Unpack[JobFilter]
    ) -> Sequence[NamedJob]:
        """Return the page that `page` does, with values from the rows that jobs refer to.

        The texts of long recipes, of which a page would hold hundreds of MB, are not read: see
        `_without_texts`.
        """
        key, value = wanted.get("metadata") or (None, None)
        given = {**wanted, "metadata": None, "key": key, "value": value}
        values = {name: value for name, value in given.items() if value is not None}
        dialect = self._connection.dialect.name
        query = _page(frozenset(values), dialect, goes_on=after is not None)
        if self._visible is not None:
            query = query.where(sa.or_(jobs.c.model.is_(None), jobs.c.model.in_(self._visible)))
        rows = self._connection.execute(query, {**values, "limit": limit, "after": after})
        return [_to_named(row) for row in rows]

    def waiting(self, *, model: ModelId | None = None, ordered_by: str | None = None) -> int:
        """Return the number of queued jobs of a model, or of those that somebody has ordered.

        Until commit nobody else counts, so that two orders cannot both take the last place.
        """
        if self._connection.dialect.name == "postgresql":  # SQLite has one writer anyway
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_COUNTING)))
        waiting = sa.select(sa.func.count()).where(jobs.c.status == JobStatus.QUEUED)
        if model is not None:
            waiting = waiting.where(jobs.c.model == model)
        if ordered_by is not None:
            waiting = waiting.where(jobs.c.ordered_by == ordered_by)
        return self._connection.scalar(waiting) or 0

    def claim(
        self,
        owner: str,
        lease_s: float,
        lost_limit: int,
        queues: Collection[Queue] = tuple(Queue),
        *,
        only: JobId | None = None,
    ) -> Job | None:
        """Claim the next claimable job by one conditional update; return None if there is none.

        With `only`, that job is claimed or none. A job is claimable if it is in one of the queues;
        is queued and not paused, or running/cancelling with an expired lease (by the database's
        clock); and its lane has no earlier unfinished job. Higher priorities come first, then older
        jobs. The claim sets the status (queued becomes running), owner, lease, fence + 1,
        attempt + 1 and, after an expired lease, lost + 1. A job that is lost for the
        `lost_limit`-th time fails with `worker_lost` instead, or is cancelled if that was
        requested, and the next one is tried.
        """
        while (position := claims.lock_next(self._connection, queues, only)) is not None:
            job = claims.take(self._connection, position, owner, lease_s)
            if job is not None and job.lost < lost_limit:
                return job
            if job is not None:
                self._end_lost(job)
        return None

    def claimable(self, queues: Collection[Queue] = tuple(Queue)) -> set[Queue]:
        """Return the queues in which `claim` would find a job now; this is cheap."""
        return {queue for queue in queues if claims.is_claimable(self._connection, queue)}

    def claimable_jobs(self, queues: Collection[Queue]) -> Sequence[JobId]:
        """Return the jobs of some queues that `claim` may claim now, in that order."""
        heads = claims.claimable_heads(self._connection, queues).with_only_columns(jobs.c.id)
        return [JobId(job) for job in self._connection.scalars(heads)]

    def cancel(self, job: Job, seen: JobStatus, at: datetime) -> None:
        """Write a cancelled or cancelling job and the event of it, if its status is still `seen`.

        Raises JobFinished otherwise.
        """
        values: dict[str, Any] = {"status": job.status}
        if job.status.done:
            values |= {"phase": job.phase, "finished_at": job.finished_at}
        written = self._connection.execute(
            sa.update(jobs).where(jobs.c.id == job.id, jobs.c.status == seen).values(values)
        )
        if written.rowcount == 0:
            raise JobFinished(job=job.id)
        if job.status.done:
            self._record_end(job, EventKind.CANCELLED, {})
        else:
            self.add_event(job.id, EventKind.CANCELLING, {}, at)

    def release_owner(self, owner_prefix: str) -> int:
        """Expire the leases of a process that is known to be dead; return how many.

        Owners are `<host>:<supervisor>:<child>`; a supervisor calls it with its own prefix.
        """
        theirs = sa.func.substr(jobs.c.owner, 1, len(owner_prefix)) == owner_prefix
        expired = sa.update(jobs).where(jobs.c.status.in_(CLAIMED), theirs).values(lease_until=0.0)
        return self._connection.execute(expired).rowcount

    def cancelling_alone(self) -> Sequence[Job]:
        """Return jobs being cancelled that no worker holds: given back, or the lease expired."""
        query = sa.select(*JOB_COLUMNS).where(
            jobs.c.status == JobStatus.CANCELLING, claims.abandoned(jobs)
        )
        return [to_job(row) for row in self._connection.execute(query)]

    def held(self, owner: str) -> Sequence[HeldJob]:
        """Return the unfinished jobs that this owner has claimed and not given back."""
        left = jobs.c.lease_until - epoch_now()
        query = sa.select(jobs.c.id, jobs.c.status, left.label("lease_s")).where(
            jobs.c.status.in_(CLAIMED), jobs.c.owner == owner
        )
        return [
            HeldJob(id=row.id, status=JobStatus(row.status), lease_s=row.lease_s)
            for row in self._connection.execute(query)
        ]

    def live_checkpoints(self) -> set[Digest]:
        """Return the checkpoints that unfinished jobs would resume from."""
        query = sa.select(jobs.c.checkpoint).where(
            jobs.c.status.in_(UNFINISHED), jobs.c.checkpoint.is_not(None)
        )
        return set(self._connection.scalars(query))

    def take_spent_checkpoints(self) -> set[Digest]:
        """Clear the checkpoints of ended jobs; return those that no job would resume from."""
        left = jobs.c.status.not_in(UNFINISHED) & jobs.c.checkpoint.is_not(None)
        spent = set(self._connection.scalars(sa.select(jobs.c.checkpoint).where(left)))
        self._connection.execute(sa.update(jobs).where(left).values(checkpoint=None))
        return spent - self.live_checkpoints()

    def _require_visible(self, job: Job) -> None:
        if not (self._visible is None or job.model is None or job.model in self._visible):
            raise JobNotFound(job=job.id)

    def _end_lost(self, job: Job) -> None:
        """End a job that was lost too often, leaving its checkpoint to the sweeper."""
        now = read_clock(self._connection)
        error = {
            "code": "worker_lost",
            "message": f"The worker was lost {job.lost} times without progress in between.",
        }
        ended = job.fail(error, now)
        if job.status is JobStatus.CANCELLING:
            ended = job.cancelled(now)
        self._write(job.id, job.fence, attempt=job.attempt - 1)  # this claim was not an attempt
        self.finish(replace(ended, checkpoint=job.checkpoint), job.fence)


# Reads of one job or a page of jobs, joined with the model's name and the parent's digest.

_PARENT = sa.and_(versions.c.model == jobs.c.model, versions.c.number == jobs.c.parent_version)
_BESIDE = (models.c.name.label("model_name"), versions.c.digest.label("parent"))
_ROWS = jobs.outerjoin(models, models.c.id == jobs.c.model).outerjoin(versions, _PARENT)
_NAMED: sa.Select[Any] = sa.select(*JOB_COLUMNS, *_BESIDE).select_from(_ROWS)
_ONE: sa.Select[Any] = _NAMED.where(jobs.c.id == sa.bindparam("job"))


_COLUMNS = {"model": jobs.c.model, "job_type": jobs.c.type, "status": jobs.c.status}


_TEXTS = ["(left out)", "(left out, too)"]  # two: a vocabulary of one text is refused


def _without_texts(dialect: str) -> sa.ColumnElement[str]:
    """Return the text of a job's order; a long one of an update has none of its vocabulary."""
    if dialect == "postgresql":
        where = array(["recipe", "vocabulary_texts"])
        short = sa.func.jsonb_set(sa.cast(ORDER_TEXT, JSONB), where, sa.cast(_TEXTS, JSONB))
    else:
        short = sa.func.json_set(
            ORDER_TEXT, "$.recipe.vocabulary_texts", sa.func.json(json.dumps(_TEXTS))
        )
    is_long = sa.and_(jobs.c.type == JobType.UPDATE, sa.func.length(ORDER_TEXT) > LONGEST)
    return sa.case((is_long, sa.cast(short, sa.Text)), else_=ORDER_TEXT)


@cache
def _page(wanted: frozenset[str], dialect: str, *, goes_on: bool) -> sa.Select[Any]:
    """Return the statement of a page, cached since building it takes longer than running it.

    A page of some time is ordered by time: then an index finds where the time begins. Otherwise,
    an index of metadata finds the jobs in their order.
    """
    timed = not wanted.isdisjoint({"since", "until"})
    order: list[Any] = [jobs.c.created_at, jobs.c.position] if timed else [jobs.c.position]
    columns = (_without_texts(dialect) if one is ORDER_TEXT else one for one in JOB_COLUMNS)
    query = sa.select(*columns, *_BESIDE).select_from(_ROWS).limit(sa.bindparam("limit"))
    if "key" in wanted:
        has_pair = _has_pair(with_value="value" in wanted)
        if timed:
            query = query.where(sa.exists().where(has_pair))
        else:
            query, order = query.join(job_metadata, has_pair), [job_metadata.c.job]
    query = query.order_by(*(column.desc() for column in order))
    if goes_on:
        earlier = jobs.alias("earlier")
        last = sa.select(earlier).where(earlier.c.id == sa.bindparam("after"))
        names = ["created_at", "position"] if timed else ["position"]
        ends = (last.with_only_columns(earlier.c[name]).scalar_subquery() for name in names)
        query = query.where(sa.tuple_(*order) < sa.tuple_(*ends))
    named = sorted(wanted & _COLUMNS.keys())
    query = query.where(*(_COLUMNS[name] == sa.bindparam(name) for name in named))
    if "since" in wanted:
        query = query.where(jobs.c.created_at >= sa.bindparam("since"))
    if "until" in wanted:
        query = query.where(jobs.c.created_at < sa.bindparam("until"))
    return query


def _has_pair(*, with_value: bool) -> sa.ColumnElement[bool]:
    """Return whether a pair of `job_metadata` is a job's, with key `key` and perhaps `value`."""
    pair = job_metadata.c
    conditions = [pair.job == jobs.c.position, pair.key == sa.bindparam("key")]
    if with_value:
        conditions.append(pair.value == sa.bindparam("value"))
    return sa.and_(*conditions)


def _to_named(row: sa.Row[Any]) -> NamedJob:
    return NamedJob(job=to_job(row), model=row.model_name, parent_digest=row.parent)
