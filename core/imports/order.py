"""Order imports of images: from an archive, from a bucket, and an ended one again."""

from dataclasses import replace
from datetime import datetime

from core.archives.rules import ArchiveFormat, BucketFolder, BucketListing, Buckets, UnpackedCount
from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.columns import WantedColumns
from core.datasets.rows import Datasets
from core.datasets.uploads import require_room
from core.errors import ArchiveEmpty, ArchiveGone, ArchiveTooBig, ArtifactCorrupt, ArtifactMissing
from core.jobs.orders import ImportImagesOrder, ImportVersionOrder, JobType
from core.jobs.queue import JobRequest, enqueue, find_replayed, notify_workers, require_queue_room
from core.jobs.rules import Job, JobNotifier
from core.platform import Platform
from core.settings import Settings
from core.values import DatasetId, JobId


def order_import(
    platform: Platform, notifier: JobNotifier, request: JobRequest, order: ImportImagesOrder
) -> Job:
    """Queue the import of a stored archive; `order.dataset` may be a name.

    Imports of one dataset run one after another. Raises DatasetNotFound, TooManyJobs, or
    FieldInvalid for a column of texts that the dataset does not have.
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
    work: Work,
    request: JobRequest,
    order: ImportImagesOrder,
    now: datetime,
    *,
    retry_of: JobId | None = None,
) -> Job:
    """Queue an import in a transaction that keeps others from deleting its dataset."""
    dataset = work[Datasets].get(order.dataset)
    order.columns.require_for(dataset.kind)
    work[Datasets].lock(dataset.id)
    require_queue_room(platform.settings, work, request.principal, None)
    return enqueue(
        work,
        request,
        None,
        JobType.IMPORT_IMAGES,
        replace(order, dataset=DatasetId(dataset.id)),
        now,
        lane=dataset.id,
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


def order_bucket_import(
    platform: Platform,
    notifier: JobNotifier,
    buckets: Buckets,
    request: JobRequest,
    *,
    dataset: str,
    folder: BucketFolder,
    validate_only: bool,
    columns: WantedColumns,
) -> Job:
    """List the objects below a prefix now, and queue an import of these and no others.

    The listing is stored in the place of an archive, so that every attempt and every retry reads
    the objects that it names, or reports them as changed. Raises DatasetNotFound, TooManyJobs,
    StorageFull, FieldInvalid and what `list_objects` raises.
    """
    with platform.transactions(read_only=True) as work:
        if known := find_replayed(work, request):
            return known
        found = work[Datasets].get(dataset)
    columns.require_for(found.kind)
    require_room(platform)
    listing = list_objects(platform.settings, buckets, folder)
    order = ImportImagesOrder(
        dataset=DatasetId(found.id),
        archive=platform.artifacts.put(listing.to_bytes()),
        archive_format=ArchiveFormat.S3,
        archive_bytes=listing.size,
        source=str(folder),
        validate_only=validate_only,
        **vars(columns),
    )
    return order_import(platform, notifier, request, order)


def list_objects(settings: Settings, buckets: Buckets, folder: BucketFolder) -> BucketListing:
    """Return the objects below a prefix that an import reads.

    Raises BucketNotAllowed, BucketUnavailable, ArchiveUnsafe, ArchiveTooBig or ArchiveEmpty.
    """
    most = settings.max_unpacked_bytes
    count = UnpackedCount(archive_bytes=0, most_bytes=most, most_files=settings.max_import_files)
    objects = []
    for found in buckets.objects(folder):
        count.add_file()
        if folder.is_file(found.key):
            objects.append(found)
    listing = BucketListing(folder=folder, objects=objects)
    if not objects:
        raise ArchiveEmpty(f"No object to import lies below {folder}.")
    if listing.size > most:
        raise ArchiveTooBig(f"The objects have more than {most:,} bytes together.", cap=most)
    return listing
