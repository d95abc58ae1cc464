"""Put decoded uploads into a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from core.domain.dataset import Dataset, DatasetImage, DatasetKind, Image, side_of
from core.domain.values import Digest
from core.errors import AllRejected, ImageInSuite, LabelConflict, SplitConflict
from core.ports import Decoder, Platform, UnitOfWork
from core.use_cases.datasets import Receipt, Reception, Upload
from core.use_cases.near_duplicates import Search, Seen, group, search


def record_uploads(
    platform: Platform, decoder: Decoder, dataset: Dataset, uploads: Sequence[Upload]
) -> list[Receipt]:
    """Put decoded uploads into a dataset, all in one transaction; one receipt a file.

    Raises AllRejected, with the receipts, when no file was accepted.
    """
    searched = search_uploads(platform, decoder, uploads)
    with platform.transactions() as work:
        receipts = record(work, dataset, uploads, searched, platform.clock())
        work.commit()
    return receipts


def search_uploads(platform: Platform, decoder: Decoder, uploads: Sequence[Upload]) -> Search:
    """Look for the known look-alikes of uploads, before the transaction that records them."""
    return search(platform, decoder, _seen(uploads))


def _seen(uploads: Sequence[Upload]) -> list[Seen]:
    return [(upload.image, upload.thumbnail) for upload in uploads if upload.image]


def record(
    work: UnitOfWork,
    dataset: Dataset,
    uploads: Sequence[Upload],
    searched: Search,
    now: datetime,
) -> list[Receipt]:
    """Put decoded uploads into a dataset, within a transaction. Raises AllRejected."""
    images = group(work, _seen(uploads), searched)
    groups = {image.group for image in images.values() if isinstance(image, Image)}
    recording = _Recording(work, dataset, images, work.suites.contains(groups), now)
    receipts = [recording.add(upload) for upload in uploads]
    if not any(receipt.accepted for receipt in receipts):
        raise AllRejected(files=[receipt.to_json() for receipt in receipts])
    return receipts


@dataclass(frozen=True)
class _Recording:
    work: UnitOfWork
    dataset: Dataset
    images: Mapping[Digest, Image | SplitConflict]
    in_suites: set[Digest]  # groups
    now: datetime

    def add(self, upload: Upload) -> Receipt:
        """Put one upload into the dataset, unless something is against it."""
        work, dataset, text = self.work, self.dataset, upload.text
        receipt = Receipt(file_label=upload.file_label, text=text, outcome=Reception.REJECTED)
        if upload.image is None:
            return replace(receipt, refusal=upload.refusal)
        image = self.images[upload.image.pixels]
        if isinstance(image, SplitConflict):
            return replace(receipt, refusal=image)
        labelled = dataset.kind is DatasetKind.LABELLED
        if labelled and image.group in self.in_suites:
            return replace(
                receipt,
                near_duplicate_of=image.near_duplicate_of,
                refusal=ImageInSuite(pixels=image.pixels),
            )
        receipt = replace(
            receipt,
            pixels=image.pixels,
            side=side_of(image.group),
            near_duplicate_of=image.near_duplicate_of,
        )
        known = work.datasets.texts(dataset.id, image.pixels)
        if text in known:
            return replace(receipt, outcome=Reception.DUPLICATE)
        if known and labelled:
            conflict = LabelConflict(
                f"The image is in this dataset as {known[0]!r}.", held=known[0]
            )
            return replace(receipt, outcome=Reception.LABEL_CONFLICT, refusal=conflict)
        work.datasets.add_image(
            DatasetImage(
                dataset=dataset.id,
                image=image,
                text=text,
                file_label=upload.file_label,
                added_at=self.now,
            )
        )
        work.thumbnails.add(image, upload.thumbnail)
        return replace(receipt, outcome=Reception.CREATED)
