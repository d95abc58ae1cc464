"""A job as a row, and back."""

import math
from typing import Any

from sqlalchemy import Row

from core.adapters.database.tables.jobs import jobs
from core.domain.recipe import Precision
from core.domain.update import (
    Job,
    JobEvent,
    JobStatus,
    JobType,
    Progress,
    order_from_json,
    order_to_json,
)

UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING)
CLAIMED = (JobStatus.RUNNING, JobStatus.CANCELLING)

_FIELDS = [column for column in jobs.c if column.name in Job.__dataclass_fields__]
JOB_COLUMNS = tuple(_FIELDS)  # what `to_job` reads


def to_row(job: Job) -> dict[str, Any]:
    """The columns of a new job."""
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
    """The job of a row that holds JOB_COLUMNS."""
    values = dict(row._mapping)
    job_type = JobType(row.type)
    return Job(
        **values
        | {
            "type": job_type,
            "order": order_from_json(job_type, values["order"]),
            "status": JobStatus(row.status),
            "progress": Progress(**row.progress),
            "precision": None if row.precision is None else Precision(row.precision),
            "suites": None if row.suites is None else tuple(row.suites),
        }
    )


def to_event(row: Row[Any]) -> JobEvent:
    """The event of a row."""
    return JobEvent(**row._mapping)


def progress_to_json(progress: Progress) -> dict[str, Any]:
    """Progress as JSON; a loss term that is no number is left out, for JSON knows none."""
    terms = {name: value for name, value in progress.terms.items() if math.isfinite(value)}
    return {**vars(progress), "terms": terms}
