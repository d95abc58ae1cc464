"""Make datasets, put images into them, freeze versions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from core.domain.dataset import (
    Dataset,
    DatasetImage,
    DatasetKind,
    DatasetVersion,
    Image,
    Manifest,
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
from core.errors import ImageInSuite, Invalid, LabelConflict
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

    text: str  # class or caption as it was sent
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


def receive_file(
    artifacts: Artifacts, decoder: Decoder, *, text: str, file_name: str | None, data: bytes
) -> Upload:
    """Decode one untrusted file and store its one form; a refusal is part of the answer."""
    upload = Upload(text=text, file_label=clean_file_label(file_name))
    try:
        decoded = decoder.decode(data)
    except Invalid as refusal:
        return replace(upload, refusal=refusal)
    artifact = artifacts.put(decoded.data)
    image = Image(
        pixels=decoded.pixels,
        artifact=artifact,
        width=decoded.width,
        height=decoded.height,
        size=len(decoded.data),
        dhash=decoded.dhash,
    )
    return replace(upload, image=image)


def record_uploads(
    platform: Platform, dataset: Dataset, uploads: Sequence[Upload]
) -> list[Receipt]:
    """Put decoded uploads into a dataset, all in one transaction; one receipt a file."""
    now = platform.clock()
    with platform.transactions() as work:
        in_suites = work.suites.contains({up.image.pixels for up in uploads if up.image})
        receipts = [_record(work, dataset, upload, in_suites, now) for upload in uploads]
        work.commit()
    return receipts


def _record(
    work: UnitOfWork, dataset: Dataset, upload: Upload, in_suites: set[Digest], now: datetime
) -> Receipt:
    receipt = Receipt(file_label=upload.file_label, text=upload.text, outcome=Reception.REJECTED)
    image = upload.image
    if image is None:
        return replace(receipt, refusal=upload.refusal)
    labelled = dataset.kind is DatasetKind.LABELLED
    try:
        text = clean_class(upload.text) if labelled else clean_caption(upload.text)
    except Invalid as refusal:
        return replace(receipt, refusal=refusal)
    if labelled and image.pixels in in_suites:
        return replace(receipt, refusal=ImageInSuite(pixels=image.pixels))
    receipt = replace(receipt, text=text, pixels=image.pixels, side=side_of(image.pixels))
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

    Raises DatasetEmpty, TooFewPerClass, or ImageInSuite when an image has become a suite's
    since it was uploaded.
    """
    now = platform.clock()
    with platform.transactions() as work:
        dataset = work.datasets.get(reference)
        rows = work.datasets.images(dataset.id)
        manifest = Manifest.of(dataset.kind, rows)
        labelled = dataset.kind is DatasetKind.LABELLED
        if labelled:
            manifest.require_trainable()
            refuse_suite_images(work, manifest)
        number = work.datasets.next_version(dataset.id)
        near = work.suites.near({row.image.dhash for row in rows}) if labelled else set()
        version = DatasetVersion(
            dataset=dataset.id,
            number=number,
            manifest=platform.artifacts.put(manifest.to_bytes()),
            classes=manifest.classes,
            counts=manifest.counts() if labelled else {},
            images=len(manifest.entries),
            near_duplicates=sum(row.image.dhash in near for row in rows),
            created_at=now,
        )
        work.datasets.add_version(version, manifest)
        work.commit()
    return version


def refuse_suite_images(work: UnitOfWork, manifest: Manifest) -> None:
    """Raise ImageInSuite when a dataset holds an image that some suite asks about."""
    shared = work.suites.contains({entry.pixels for entry in manifest.entries})
    if shared:
        raise ImageInSuite(
            f"{len(shared)} images of the dataset belong to a suite.", pixels=sorted(shared)[:20]
        )
