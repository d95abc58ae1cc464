"""The durations of a model's earlier updates."""

from collections.abc import Iterator
from contextlib import suppress

from core.domain.advice.duration import PastUpdate, workload
from core.domain.jobs.job import Job, JobStatus
from core.domain.jobs.order import JobType, UpdateOrder
from core.domain.registry.version import Model
from core.errors import DatasetVersionNotFound, VersionNotFound
from core.ports import UnitOfWork

_MOST = 10


def past_updates(work: UnitOfWork, model: Model) -> Iterator[PastUpdate]:
    """Yield the newest updates of a model that ended without being interrupted, newest first."""
    ended = work.jobs.page(
        _MOST, None, model=model.id, job_type=JobType.UPDATE, status=JobStatus.SUCCEEDED
    )
    for job in ended:
        with suppress(VersionNotFound, DatasetVersionNotFound):  # deleted since
            if past := _past_update(work, model, job):
                yield past


def _past_update(work: UnitOfWork, model: Model, job: Job) -> PastUpdate | None:
    if not isinstance(job.order, UpdateOrder) or job.version is None or job.attempt != 1:
        return None
    if job.started_at is None or job.finished_at is None:
        return None
    made = work.versions.get(model.id, job.version)
    training_s = (made.created_at - job.started_at).total_seconds()
    if training_s <= 0:
        return None
    data = work.datasets.version(job.order.dataset, job.order.dataset_version)
    return PastUpdate(
        part=job.order.recipe.part,
        mixing_choice=job.order.recipe.mixing_choice,
        device=made.environment.get("device", "an unknown device"),
        images=workload(
            job.order.recipe,
            data.training_images,
            exemplars=made.notes.get("exemplars", 0) + made.notes.get("features", 0),
        ).images,
        training_s=training_s,
        scoring_s=(job.finished_at - made.created_at).total_seconds(),
    )
