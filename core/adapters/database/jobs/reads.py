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
    String,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    tuple_,
)

from core.adapters.database.jobs.rows import JOB_COLUMNS, to_job
from core.adapters.database.tables.jobs import jobs
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
    query = _page(frozenset(values), connection.dialect.name, goes_on=after is not None)
    if visible is not None:
        query = query.where(or_(jobs.c.model.is_(None), jobs.c.model.in_(visible)))
    rows = connection.execute(query, {**values, "limit": limit, "after": after})
    return [_to_named(row) for row in rows]


@cache
def _page(wanted: frozenset[str], dialect: str, *, goes_on: bool) -> Select[Any]:
    """Return the statement of a page, cached since building it takes longer than running it.

    A page of some time is ordered by time: then an index finds where the time begins.
    """
    timed = [] if wanted.isdisjoint({"since", "until"}) else [jobs.c.created_at]
    order = [*timed, jobs.c.position]
    query = _NAMED.order_by(*(column.desc() for column in order)).limit(bindparam("limit"))
    if goes_on:
        earlier = jobs.alias("earlier")
        last = select(earlier).where(earlier.c.id == bindparam("after"))
        ends = (last.with_only_columns(earlier.c[one.name]).scalar_subquery() for one in order)
        query = query.where(tuple_(*order) < tuple_(*ends))
    columns = sorted(wanted & {"model", "type", "status"})
    query = query.where(*(jobs.c[name] == bindparam(name) for name in columns))
    if "since" in wanted:
        query = query.where(jobs.c.created_at >= bindparam("since"))
    if "until" in wanted:
        query = query.where(jobs.c.created_at < bindparam("until"))
    if "key" in wanted:
        query = query.where(_has_metadata(dialect, with_value="value" in wanted))
    return query


def _has_metadata(dialect: str, *, with_value: bool) -> ColumnElement[bool]:
    """Return whether a job has the metadata key `key`, with the value `value` if there is one."""
    expand = func.json_each if dialect == "sqlite" else func.json_each_text
    pairs = expand(jobs.c.metadata).table_valued("key", "value", name="pairs")
    conditions = [pairs.c.key == bindparam("key", type_=String)]
    if with_value:
        conditions.append(pairs.c.value == bindparam("value", type_=String))
    return exists(select(1).select_from(pairs).where(*conditions))


def _to_named(row: Row[Any]) -> NamedJob:
    return NamedJob(job=to_job(row), model=row.model_name, parent_digest=row.parent)
