"""The state of the import of a model's root."""

from core.domain.jobs.job import Job, JobStatus
from core.domain.jobs.order import JobType
from core.domain.registry.version import Model
from core.domain.values import ModelId
from core.errors import Conflict, ImportFailed
from core.ports import UnitOfWork

UNFINISHED = tuple(status for status in JobStatus if not status.done)


def failed_import(work: UnitOfWork, model: Model) -> Job | None:
    """Return the last import of a model that has no root and none on its way, else None.

    Such a model can be created again, or its import can be retried.
    """
    if work.versions.page(model.id, 1, None):
        return None
    if any(_newest(work, model, status) for status in UNFINISHED):
        return None
    return _newest(work, model, None)


def require_import(work: UnitOfWork, model: Model) -> None:
    """Raise ImportFailed for a model that has no root and will have none."""
    if job := failed_import(work, model):
        raise ImportFailed(
            f"The model {model.name} has no version because its import did not succeed: retry "
            f"job {job.id}, or create the model again.",
            model=model.name,
            job=job.id,
        )


def require_no_root(work: UnitOfWork, model: ModelId) -> None:
    """Raise Conflict for a model that needs no import any more."""
    if work.versions.page(model, 1, None):
        raise Conflict("The model already has its root version.")


def _newest(work: UnitOfWork, model: Model, status: JobStatus | None) -> Job | None:
    found = work.jobs.page(1, None, model=model.id, job_type=JobType.IMPORT, status=status)
    return found[0] if found else None
