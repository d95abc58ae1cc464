"""Conversion of jobs and their events to and from rows."""

import math
from typing import Any

from sqlalchemy import Row, Text, cast

from core.adapters.database.parsed_json import parse_order
from core.adapters.database.tables.jobs import jobs, lane_of
from core.domain.jobs.event import JobEvent
from core.domain.jobs.job import Job, JobStatus, Progress
from core.domain.jobs.order import JobType, order_to_json
from core.domain.recipes.choices import Precision

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
