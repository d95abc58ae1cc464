"""Reads of one job or a page of jobs, joined with the model's name and the parent's digest."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    or_,
    select,
    tuple_,
)

from core.adapters.database.jobs.rows import JOB_COLUMNS, to_job
from core.adapters.database.tables.jobs import job_metadata, jobs
from core.adapters.database.tables.models import models, versions
from core.domain.values import JobId, ModelId
from core.errors import JobNotFound
from core.ports import NamedJob

_PARENT = and_(versions.c.model == jobs.c.model, versions.c.number == jobs.c.parent_version)
_NAMED: Select[Any] = (
    select(*JOB_COLUMNS, models.c.name.label("model_name"), versions.c.digest.label("parent"))
    .select_from(jobs.outerjoin(models, models.c.id == jobs.c.model).outerjoin(versions, _PARENT))
)  # fmt: skip
_ONE: Select[Any] = _NAMED.where(jobs.c.id == bindparam("job"))


def read_one(connection: Connection, job: JobId) -> NamedJob:
    """Return a job with its model's name and parent's digest. Raises JobNotFound."""
    row = connection.execute(_ONE, {"job": job}).first()
    if row is None:
        raise JobNotFound(job=job)
    return _to_named(row)


def read_page(
    connection: Connection,
    limit: int,
    after: JobId | None,
    *,
    visible: Collection[ModelId] | None = None,
    **wanted: str | datetime | None,
) -> Sequence[NamedJob]:
    """Return a page of jobs, newest first; `wanted` maps conditions to values, None for any.

    With `visible`, the jobs of other models are left out.
    """
    values = {name: value for name, value in wanted.items() if value is not None}
    query = _page(frozenset(values), goes_on=after is not None)
    if visible is not None:
        query = query.where(or_(jobs.c.model.is_(None), jobs.c.model.in_(visible)))
    rows = connection.execute(query, {**values, "limit": limit, "after": after})
    return [_to_named(row) for row in rows]


@cache
def _page(wanted: frozenset[str], *, goes_on: bool) -> Select[Any]:
    """Return the statement of a page, cached since building it takes longer than running it.

    A page of some time is ordered by time: then an index finds where the time begins. Otherwise,
    an index of metadata finds the jobs in their order.
    """
    timed = not wanted.isdisjoint({"since", "until"})
    order: list[Any] = [jobs.c.created_at, jobs.c.position] if timed else [jobs.c.position]
    query = _NAMED.limit(bindparam("limit"))
    if "key" in wanted:
        has_pair = _has_pair(with_value="value" in wanted)
        if timed:
            query = query.where(exists().where(has_pair))
        else:
            query, order = query.join(job_metadata, has_pair), [job_metadata.c.job]
    query = query.order_by(*(column.desc() for column in order))
    if goes_on:
        earlier = jobs.alias("earlier")
        last = select(earlier).where(earlier.c.id == bindparam("after"))
        names = ["created_at", "position"] if timed else ["position"]
        ends = (last.with_only_columns(earlier.c[name]).scalar_subquery() for name in names)
        query = query.where(tuple_(*order) < tuple_(*ends))
    columns = sorted(wanted & {"model", "type", "status"})
    query = query.where(*(jobs.c[name] == bindparam(name) for name in columns))
    if "since" in wanted:
        query = query.where(jobs.c.created_at >= bindparam("since"))
    if "until" in wanted:
        query = query.where(jobs.c.created_at < bindparam("until"))
    return query


def _has_pair(*, with_value: bool) -> ColumnElement[bool]:
    """Return whether a pair of `job_metadata` is a job's, with key `key` and perhaps `value`."""
    pair = job_metadata.c
    conditions = [pair.job == jobs.c.position, pair.key == bindparam("key")]
    if with_value:
        conditions.append(pair.value == bindparam("value"))
    return and_(*conditions)


def _to_named(row: Row[Any]) -> NamedJob:
    return NamedJob(job=to_job(row), model=row.model_name, parent_digest=row.parent)
