"""Reads of one job or a page of jobs, joined with the model's name and the parent's digest."""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, or_, select

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
    **wanted: str | None,
) -> Sequence[NamedJob]:
    """Return a page of jobs, newest first; `wanted` maps columns to values, None for any.

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
    """Return the statement of a page, cached since building it takes longer than running it."""
    query = _NAMED.order_by(jobs.c.position.desc()).limit(bindparam("limit"))
    if goes_on:
        earlier = jobs.alias("earlier")
        last = select(earlier.c.position).where(earlier.c.id == bindparam("after"))
        query = query.where(jobs.c.position < last.scalar_subquery())
    return query.where(*(jobs.c[name] == bindparam(name) for name in sorted(wanted)))


def _to_named(row: Row[Any]) -> NamedJob:
    return NamedJob(job=to_job(row), model=row.model_name, parent_digest=row.parent)
