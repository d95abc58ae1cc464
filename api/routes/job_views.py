"""Show jobs with what their rows only refer to."""

from collections.abc import Sequence

from fastapi import Response

from api.dependencies import Services
from api.schemas.jobs import JobView
from core.domain.update import Job
from core.domain.values import ModelId
from core.ports import UnitOfWork

POLL_AFTER_S = 1


def accepted(services: Services, response: Response, job: Job) -> JobView:
    """The job, with the headers of a 202."""
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(POLL_AFTER_S)
    with services.platform.transactions(read_only=True) as work:
        return show_job(work, job)


def show_job(work: UnitOfWork, job: Job) -> JobView:
    """One job."""
    return show_jobs(work, [job])[0]


def show_jobs(work: UnitOfWork, jobs: Sequence[Job]) -> list[JobView]:
    """Many jobs; each model is looked up once."""
    names: dict[ModelId, str] = {}
    views = []
    for job in jobs:
        if job.model not in names:
            names[job.model] = work.models.get(job.model).name
        parent = job.parent_version
        digest = work.versions.get(job.model, parent).digest if parent is not None else None
        views.append(JobView.of(job, model=names[job.model], parent_digest=digest))
    return views
