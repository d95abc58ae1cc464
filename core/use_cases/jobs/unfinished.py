"""The jobs of a model that have not ended."""

from collections.abc import Iterator

from core.domain.jobs.job import Job, JobStatus
from core.domain.values import ModelId
from core.ports import UnitOfWork

_MANY = 1_000_000


def unfinished_jobs(work: UnitOfWork, model: ModelId) -> Iterator[Job]:
    """Yield the jobs of a model that have not ended."""
    for status in JobStatus:
        if not status.done:
            yield from work.jobs.page(_MANY, None, model=model, status=status)
