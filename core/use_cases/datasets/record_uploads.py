"""Put decoded uploads into a dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from core.domain.access.audit import Action
from core.domain.datasets.dataset import Dataset, DatasetImage, DatasetKind
from core.domain.datasets.split import side_of
from core.domain.values import Digest, JobId
from core.errors import AllRejected, ImageErased, ImageInSuite, Invalid, LabelConflict
from core.ports import Decoder, ImageWithThumbnail, Platform, UnitOfWork, ignore_progress
from core.use_cases.access import audit
from core.use_cases.datasets.datasets import Receipt, Upload, UploadOutcome
from core.use_cases.datasets.near_duplicates import GroupedImage, SimilaritySearch, group, search


def record_uploads(
    platform: Platform, decoder: Decoder, dataset: Dataset, uploads: Sequence[Upload]
) -> list[Receipt]:
    """Put decoded and stored uploads into a dataset, in one transaction; one receipt a file.

    Raises AllRejected, with the receipts, when no file was accepted.
    """
    searched = search_uploads(platform, decoder, uploads)
    delete_erased(platform, uploads)
    with platform.transactions() as work:
        receipts = record(work, dataset, uploads, searched, platform.clock())
        work.commit()
    return receipts


def delete_erased(platform: Platform, uploads: Sequence[Upload]) -> None:
    """Delete what was just stored of images that were erased before.

    If one is erased after this, the erasure deletes it.
    """
    images = [upload.image for upload in uploads if upload.image]
    with platform.transactions(read_only=True) as work:
        erased = work.erasures.erased({image.pixels for image in images})
    for image in images:
        if image.pixels in erased:
            platform.artifacts.delete(image.artifact)


def search_uploads(
    platform: Platform,
    decoder: Decoder,
    uploads: Sequence[Upload],
    progress: Callable[[int, int], object] = ignore_progress,
) -> SimilaritySearch:
    """Search for near-duplicates of uploads, before the transaction that records them."""
    return search(platform, decoder, _seen(uploads), progress)


def _seen(uploads: Sequence[Upload]) -> list[ImageWithThumbnail]:
    return [(upload.image, upload.thumbnail) for upload in uploads if upload.image]


def record(
    work: UnitOfWork,
    dataset: Dataset,
    uploads: Sequence[Upload],
    searched: SimilaritySearch,
    now: datetime,
) -> list[Receipt]:
    """Put decoded uploads into a dataset, within a transaction. Raises AllRejected."""
    receipts = receive(work, dataset, uploads, searched, now)
    if not any(receipt.accepted for receipt in receipts):
        raise AllRejected(files=[receipt.to_json() for receipt in receipts])
    return receipts


def receive(
    work: UnitOfWork,
    dataset: Dataset,
    uploads: Sequence[Upload],
    searched: SimilaritySearch,
    now: datetime,
    *,
    job: JobId | None = None,
) -> list[Receipt]:
    """Put decoded uploads into a dataset, within a transaction, even if all are refused.

    `job` is the import that brings them.
    """
    placed: dict[Digest, GroupedImage | Invalid] = {**group(work, _seen(uploads), searched)}
    placed |= {pixels: ImageErased(pixels=pixels) for pixels in work.erasures.erased(placed)}
    groups = {
        alike for one in placed.values() if isinstance(one, GroupedImage) for alike in one.alike
    }
    reception = _Receiving(
        dataset=dataset,
        placed=placed,
        in_suites=work.suites.contains(groups),
        texts={
            pixels: [*texts] for pixels, texts in work.datasets.texts(dataset.id, placed).items()
        },
        now=now,
    )
    receipts = [reception.receive(upload) for upload in uploads]
    if not any(receipt.accepted for receipt in receipts):
        return receipts
    work.datasets.add_images(dataset.id, reception.rows)
    if known := sum(receipt.outcome is UploadOutcome.DUPLICATE for receipt in receipts):
        work.datasets.count_duplicates(dataset.id, known)
    work.thumbnails.add(reception.seen)
    if reception.rows:
        audit.record(
            work,
            Action.DATASET_EXTENDED,
            f"datasets/{dataset.name}",
            now=now,
            after={"added": len(reception.rows)} | ({"job": job} if job else {}),
        )
    return receipts


@dataclass(frozen=True, kw_only=True)
class _Receiving:
    """Uploads are received one by one; what they add is collected and stored at once."""

    dataset: Dataset
    placed: Mapping[Digest, GroupedImage | Invalid]
    in_suites: set[Digest]  # groups
    texts: dict[Digest, list[str]]  # of the images in the dataset, with those collected
    now: datetime
    rows: list[DatasetImage] = field(default_factory=list)
    seen: list[ImageWithThumbnail] = field(default_factory=list)

    def receive(self, upload: Upload) -> Receipt:
        """Collect one upload, unless it is refused."""
        text, label = upload.text, upload.file_label
        receipt = Receipt(file_label=label, text=text, outcome=UploadOutcome.REJECTED)
        if upload.image is None:
            return replace(receipt, refusal=upload.refusal)
        placed = self.placed[upload.image.pixels]
        if not isinstance(placed, GroupedImage):
            return replace(receipt, refusal=placed)
        image = placed.image
        receipt = replace(receipt, near_duplicate_of=image.near_duplicate_of)
        labelled = self.dataset.kind is DatasetKind.LABELLED
        if labelled and not placed.alike.isdisjoint(self.in_suites):
            return replace(receipt, refusal=ImageInSuite(pixels=image.pixels))
        receipt = replace(receipt, pixels=image.pixels, side=side_of(image.group))
        known = self.texts.setdefault(image.pixels, [])
        if text in known:
            return replace(receipt, outcome=UploadOutcome.DUPLICATE)
        if known and labelled:
            held = known[0]
            conflict = LabelConflict(f"The image is in this dataset as {held!r}.", held=held)
            return replace(receipt, outcome=UploadOutcome.LABEL_CONFLICT, refusal=conflict)
        known.append(text)
        self.seen.append((image, upload.thumbnail))
        self.rows.append(
            DatasetImage(
                dataset=self.dataset.id,
                image=image,
                text=text,
                file_label=label,
                added_at=self.now,
            )
        )
        return replace(receipt, outcome=UploadOutcome.CREATED)
