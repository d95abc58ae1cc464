"""Order the import of an archive of images, and order an ended one again."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from core.domain.jobs.job import Job
from core.domain.jobs.order import ImportImagesOrder, ImportVersionOrder, JobType
from core.domain.values import DatasetId, JobId
from core.errors import ArchiveGone, ArtifactCorrupt, ArtifactMissing
from core.ports import Artifacts, JobNotifier, Platform, UnitOfWork
from core.use_cases.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers
from core.use_cases.jobs.waiting import require_queue_room


def order_import(
    platform: Platform, notifier: JobNotifier, request: JobRequest, order: ImportImagesOrder
) -> Job:
    """Queue the import of a stored archive; `order.dataset` may be a name.

    Imports of one dataset run one after another. Raises DatasetNotFound or TooManyJobs.
    """
    with platform.transactions() as work:
        if known := find_replayed(work, request):
            return known
        job = enqueue_import(platform, work, request, order, platform.clock())
        work.commit()
    notify_workers(notifier, job)
    return job


def enqueue_import(
    platform: Platform,
    work: UnitOfWork,
    request: JobRequest,
    order: ImportImagesOrder,
    now: datetime,
    *,
    priority: int = 0,
    metadata: Mapping[str, str] | None = None,
    retry_of: JobId | None = None,
) -> Job:
    """Queue an import in a transaction that keeps others from deleting its dataset."""
    dataset = work.datasets.get(order.dataset)
    work.datasets.lock(dataset.id)
    require_queue_room(platform.settings, work, request.principal, None)
    return enqueue(
        work,
        request,
        None,
        JobType.IMPORT_IMAGES,
        replace(order, dataset=DatasetId(dataset.id)),
        now,
        lane=dataset.id,
        priority=priority,
        metadata=metadata,
        retry_of=retry_of,
    )


def renew_archive(artifacts: Artifacts, order: ImportImagesOrder | ImportVersionOrder) -> None:
    """Reset the age of an archive, so that no collection takes it for an old one.

    Raises ArchiveGone if it has been collected since its import ended, or is damaged.
    """
    try:
        artifacts.renew(order.archive)
    except (ArtifactMissing, ArtifactCorrupt) as error:
        gone = "The list of the objects of this import has been deleted: order the import again."
        listed = isinstance(order, ImportImagesOrder) and order.source
        raise ArchiveGone(gone if listed else None, archive=order.archive) from error
