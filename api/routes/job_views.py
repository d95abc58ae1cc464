"""Responses with a job."""

from fastapi import Response

from api.dependencies import Services
from api.schemas.jobs import JobView
from core.domain.jobs.job import Job
from core.ports import NamedJob

POLL_AFTER_S = 1


def accepted(services: Services, response: Response, job: Job) -> JobView:
    """Return the job as it is now, and set the headers of a 202 response."""
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(POLL_AFTER_S)
    with services.platform.transactions(read_only=True) as work:
        return show_job(work.jobs.named(job.id))


def show_job(named: NamedJob) -> JobView:
    """Return the view of a job."""
    return JobView.of(named.job, model=named.model, parent_digest=named.parent_digest)
