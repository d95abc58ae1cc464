"""Import the images of an archive into a dataset: all of them in one transaction, or none.

The archive is read to its end first. Nothing of it is in the dataset until the transaction that
also ends the job, so that an import which fails, is cancelled or is killed has changed nothing. A
killed one begins again: the same archive in the same order brings the same draft.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from core.domain.datasets.dataset import DatasetKind
from core.domain.datasets.image_list import NamedFile, name_files
from core.domain.jobs.job import Job
from core.domain.jobs.order import ImportImagesOrder
from core.domain.values import clean_file_label, sha256
from core.errors import Invalid
from core.ports import ArchiveReader, Decoder, Monitor, Platform, UnitOfWork
from core.use_cases.datasets.datasets import Receipt, Upload, clean_text
from core.use_cases.datasets.quota import require_quota
from core.use_cases.datasets.record_uploads import delete_erased, receive, search_uploads
from core.use_cases.imports.file_report import FileReport
from core.use_cases.imports.unpack import Unpacked, Unpacking


def import_images(
    platform: Platform,
    archives: ArchiveReader,
    decoder: Decoder,
    job: Job,
    order: ImportImagesOrder,
    monitor: Monitor,
) -> None:
    """Put the images of an archive into its dataset, write the report of its files, end the job.

    With `validate_only`, no image is stored or recorded, and the report says what would be. Raises
    DatasetNotFound, QuotaExceeded, what `Unpacking.unpack` raises, and Interruption.
    """
    with platform.transactions(read_only=True) as work:
        dataset = work.datasets.get(order.dataset)
    keep = sha256 if order.validate_only else platform.artifacts.put
    unpacking = Unpacking(
        platform, archives, decoder, kind=dataset.kind, keep=keep, monitor=monitor
    )
    unpacked = unpacking.unpack(order)
    named = list(name_files(unpacked.paths, unpacked.listed, dataset.kind))
    uploads = list(_uploads(named, unpacked, dataset.kind))
    delete_erased(platform, uploads)
    searched = search_uploads(platform, decoder, uploads, partial(monitor.advance, "comparing"))
    monitor.advance("recording", 0, len(uploads))
    with platform.transactions() as work:
        require_quota(platform.settings, work, [upload.image for upload in uploads])
        receipts = receive(work, dataset, uploads, searched, platform.clock(), job=job.id)
        if not order.validate_only:
            _finish(platform, work, job, named, receipts)
            return
    with platform.transactions() as work:  # the other is rolled back
        _finish(platform, work, job, named, receipts)


def _uploads(named: Sequence[NamedFile], unpacked: Unpacked, kind: DatasetKind) -> Iterator[Upload]:
    for file in named:
        upload = Upload(text=file.text, file_label=clean_file_label(file.path[-1]))
        decoded = unpacked.images[file.index] if file.index is not None else None
        refusal = file.refusal or (decoded if isinstance(decoded, Invalid) else None)
        try:
            text = clean_text(kind, file.text)
        except Invalid as unusable:
            refusal = refusal or unusable
        if refusal is not None or decoded is None or isinstance(decoded, Invalid):
            yield replace(upload, refusal=refusal)
            continue
        image, thumbnail = decoded
        yield replace(upload, text=text, image=image, thumbnail=thumbnail)


def _finish(
    platform: Platform,
    work: UnitOfWork,
    job: Job,
    named: Sequence[NamedFile],
    receipts: Sequence[Receipt],
) -> None:
    """End the job with its report, which is small enough to be stored within the transaction."""
    report = FileReport.of([file.path for file in named], receipts)
    stored = platform.artifacts.put(report.to_bytes())
    result = {"report": stored, **report.counts}
    work.jobs.finish(job.succeed(result, platform.clock()), job.fence)
    work.commit()
