"""Order the import of what lies below a prefix of a bucket."""

from core.domain.datasets.archive import ArchiveFormat, UnpackedCount
from core.domain.datasets.bucket import BucketFolder, BucketListing
from core.domain.jobs.job import Job
from core.domain.jobs.order import ImportImagesOrder
from core.domain.values import DatasetId
from core.errors import ArchiveEmpty, ArchiveTooBig
from core.ports import Buckets, JobNotifier, Platform
from core.settings import Settings
from core.use_cases.datasets.datasets import require_room
from core.use_cases.imports.order_import import order_import
from core.use_cases.jobs.queue import JobRequest, find_replayed


def order_bucket_import(
    platform: Platform,
    notifier: JobNotifier,
    buckets: Buckets,
    request: JobRequest,
    *,
    dataset: str,
    folder: BucketFolder,
    validate_only: bool,
) -> Job:
    """List the objects below a prefix now, and queue an import of these and no others.

    The listing is stored in the place of an archive, so that every attempt and every retry reads
    the objects that it names, or reports them as changed. Raises DatasetNotFound, TooManyJobs,
    StorageFull and what `list_objects` raises.
    """
    with platform.transactions(read_only=True) as work:
        if known := find_replayed(work, request):
            return known
        found = work.datasets.get(dataset)
    require_room(platform)
    listing = list_objects(platform.settings, buckets, folder)
    order = ImportImagesOrder(
        dataset=DatasetId(found.id),
        archive=platform.artifacts.put(listing.to_bytes()),
        archive_format=ArchiveFormat.S3,
        archive_bytes=listing.size,
        source=str(folder),
        validate_only=validate_only,
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
