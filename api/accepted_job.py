"""Answers to orders that were accepted: a job, and where to poll it."""

from fastapi import Response

from api.dependencies import Services
from api.schemas.jobs.jobs import JobView
from core.domain.jobs.job import Job

POLL_AFTER_S = 1


def accepted(services: Services, response: Response, job: Job) -> JobView:
    """Return the job as it is now, and set the headers of a 202 response."""
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    response.headers["Retry-After"] = str(POLL_AFTER_S)
    with services.platform.transactions(read_only=True) as work:
        return JobView.of(work.jobs.named(job.id))
