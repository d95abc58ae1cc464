"""Make datasets, put images into them, freeze versions."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.domain.dataset import (
    Dataset,
    DatasetImage,
    DatasetKind,
    DatasetVersion,
    Image,
    Manifest,
    ManifestEntry,
    Side,
    side_of,
)
from core.domain.values import (
    DatasetId,
    Digest,
    clean_caption,
    clean_class,
    clean_file_label,
    clean_name,
    new_id,
)
from core.errors import AllRejected, ImageInSuite, Invalid, LabelConflict, StorageFull
from core.ports import Artifacts, Decoder, Platform, UnitOfWork


class Reception(StrEnum):
    """What became of an uploaded file."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    LABEL_CONFLICT = "label_conflict"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An uploaded file after decoding: a stored image, or the reason why not."""

    text: str  # class or caption: cleaned, or as it was sent when that is what was refused
    file_label: str
    image: Image | None = None
    refusal: Invalid | None = None


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the client is told about one file."""

    file_label: str
    text: str
    outcome: Reception
    pixels: Digest | None = None
    side: Side | None = None
    refusal: Invalid | LabelConflict | None = None

    @property
    def accepted(self) -> bool:
        """Whether the image is in the dataset under this text now."""
        return self.outcome in {Reception.CREATED, Reception.DUPLICATE}

    def to_json(self) -> dict[str, Any]:
        """The receipt as plain JSON; refused files say why, by code."""
        refusal = self.refusal
        return {
            "file": self.file_label,
            "text": self.text[:600],
            "outcome": self.outcome.value,
            "pixels": self.pixels,
            "side": self.side.value if self.side else None,
            "error": refusal and {"code": refusal.code, "detail": refusal.message},
        }


def create_dataset(platform: Platform, name: str, kind: DatasetKind) -> Dataset:
    """Open an empty dataset. Raises NameInvalid or NameTaken."""
    now = platform.clock()
    dataset = Dataset(
        id=DatasetId(new_id("ds", now)), name=clean_name(name), kind=kind, created_at=now
    )
    with platform.transactions() as work:
        work.datasets.add(dataset)
        work.commit()
    return dataset


def require_room(platform: Platform) -> None:
    """Raise StorageFull unless the disk has the head-room that the settings ask for."""
    free = platform.artifacts.free_bytes()
    if free < platform.settings.min_free_bytes:
        raise StorageFull(free_bytes=free)


def receive_file(
    keep: Callable[[bytes], Digest],
    decoder: Decoder,
    kind: DatasetKind,
    *,
    text: str,
    file_name: str | None,
    data: bytes,
) -> Upload:
    """Decode one untrusted file and keep its one form; a refusal is part of the answer.

    `keep` stores bytes and names their digest: at once, or on trial until a form has ended
    well. A file whose text is refused is not decoded.
    """
    upload = Upload(text=text, file_label=clean_file_label(file_name))
    try:
        text = clean_class(text) if kind is DatasetKind.LABELLED else clean_caption(text)
        decoded = decoder.decode(data)
    except Invalid as refusal:
        return replace(upload, refusal=refusal)
    image = Image(
        pixels=decoded.pixels,
        artifact=keep(decoded.data),
        width=decoded.width,
        height=decoded.height,
        size=len(decoded.data),
        dhash=decoded.dhash,
    )
    return replace(upload, text=text, image=image)


def record_uploads(
    platform: Platform, dataset: Dataset, uploads: Sequence[Upload]
) -> list[Receipt]:
    """Put decoded uploads into a dataset, all in one transaction; one receipt a file.

    Raises AllRejected, with the receipts, when no file was accepted.
    """
    with platform.transactions() as work:
        receipts = record(work, dataset, uploads, platform.clock())
        work.commit()
    return receipts


def record(
    work: UnitOfWork, dataset: Dataset, uploads: Sequence[Upload], now: datetime
) -> list[Receipt]:
    """Put decoded uploads into a dataset, within a transaction. Raises AllRejected."""
    in_suites = work.suites.contains({up.image.pixels for up in uploads if up.image})
    receipts = [_record(work, dataset, upload, in_suites, now) for upload in uploads]
    if not any(receipt.accepted for receipt in receipts):
        raise AllRejected(files=[receipt.to_json() for receipt in receipts])
    return receipts


def _record(
    work: UnitOfWork, dataset: Dataset, upload: Upload, in_suites: set[Digest], now: datetime
) -> Receipt:
    receipt = Receipt(file_label=upload.file_label, text=upload.text, outcome=Reception.REJECTED)
    image = upload.image
    if image is None:
        return replace(receipt, refusal=upload.refusal)
    labelled, text = dataset.kind is DatasetKind.LABELLED, upload.text
    if labelled and image.pixels in in_suites:
        return replace(receipt, refusal=ImageInSuite(pixels=image.pixels))
    receipt = replace(receipt, pixels=image.pixels, side=side_of(image.pixels))
    known = work.datasets.texts(dataset.id, image.pixels)
    if text in known:
        return replace(receipt, outcome=Reception.DUPLICATE)
    if known and labelled:
        conflict = LabelConflict(f"The image is in this dataset as {known[0]!r}.", held=known[0])
        return replace(receipt, outcome=Reception.LABEL_CONFLICT, refusal=conflict)
    work.datasets.add_image(
        DatasetImage(
            dataset=dataset.id, image=image, text=text, file_label=upload.file_label, added_at=now
        )
    )
    return replace(receipt, outcome=Reception.CREATED)


def freeze_version(platform: Platform, reference: str) -> DatasetVersion:
    """Freeze a dataset's present images into its next version.

    Whether every class has enough images is the update's question, since a suite may have
    one image of a class. Raises DatasetEmpty, or ImageInSuite when an image has become a
    suite's since it was uploaded.
    """
    with platform.transactions() as work:
        dataset = work.datasets.get(reference)
        version = freeze(work, platform.artifacts, dataset, platform.clock())
        work.commit()
    return version


def freeze(
    work: UnitOfWork, artifacts: Artifacts, dataset: Dataset, now: datetime
) -> DatasetVersion:
    """Freeze a dataset's present images, within a transaction."""
    number = work.datasets.next_version(dataset.id)  # nobody removes one of them from here on
    rows = work.datasets.images(dataset.id)
    manifest = Manifest.of(dataset.kind, rows)
    labelled = dataset.kind is DatasetKind.LABELLED
    if labelled:
        refuse_suite_images(work, manifest.entries)
    near = work.suites.near({row.image.dhash for row in rows}) if labelled else set()
    version = DatasetVersion(
        dataset=dataset.id,
        number=number,
        manifest=artifacts.put(manifest.to_bytes()),
        classes=manifest.classes,
        counts=manifest.counts() if labelled else {},
        images=len(manifest.entries),
        near_duplicates=sum(row.image.dhash in near for row in rows),
        created_at=now,
    )
    work.datasets.add_version(version, manifest)
    return version


def refuse_suite_images(
    work: UnitOfWork, entries: Collection[ManifestEntry], *, of: str = "the dataset"
) -> None:
    """Raise ImageInSuite when one of the images to learn from is one that a suite asks about."""
    shared = work.suites.contains({entry.pixels for entry in entries})
    if shared:
        raise ImageInSuite(
            f"{len(shared)} images of {of} belong to a suite.", pixels=sorted(shared)[:20]
        )
