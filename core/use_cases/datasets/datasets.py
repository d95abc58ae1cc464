"""Create datasets and receive uploads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from core.domain.access.audit import Action
from core.domain.datasets.dataset import Dataset, DatasetKind, Image
from core.domain.datasets.split import Side
from core.domain.values import (
    DatasetId,
    Digest,
    Json,
    clean_caption,
    clean_class,
    clean_file_label,
    clean_name,
    new_id,
)
from core.errors import Invalid, LabelConflict, StorageFull
from core.ports import Decoder, ImageWithThumbnail, Platform, UnitOfWork
from core.use_cases.access import audit


class UploadOutcome(StrEnum):
    """The outcome of an uploaded file."""

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
    thumbnail: str = ""  # of the image
    refusal: Invalid | None = None


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The answer to one uploaded file."""

    file_label: str
    text: str
    outcome: UploadOutcome
    pixels: Digest | None = None
    side: Side | None = None
    near_duplicate_of: Digest | None = None  # an older image, on the same side
    refusal: Invalid | LabelConflict | None = None

    @property
    def accepted(self) -> bool:
        """True if the image is in the dataset under this text now."""
        return self.outcome in {UploadOutcome.CREATED, UploadOutcome.DUPLICATE}

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as plain JSON; refused files say why, by code."""
        refusal = self.refusal
        return {
            "file": self.file_label,
            "text": self.text[:600],
            "outcome": self.outcome.value,
            "pixels": self.pixels,
            "side": self.side.value if self.side else None,
            "near_duplicate_of": self.near_duplicate_of,
            "error": refusal and {"code": refusal.code, "detail": refusal.message},
        }


def create_dataset(
    platform: Platform,
    name: str,
    kind: DatasetKind,
    *,
    description: str = "",
    metadata: Mapping[str, str] | None = None,
) -> Dataset:
    """Open an empty dataset. Raises NameInvalid or NameTaken."""
    now = platform.clock()
    dataset = Dataset(
        id=DatasetId(new_id("ds", now)),
        name=clean_name(name),
        kind=kind,
        created_at=now,
        description=description,
        metadata=metadata or {},
    )
    with platform.transactions() as work:
        add_dataset(work, dataset)
        work.commit()
    return dataset


def add_dataset(work: UnitOfWork, dataset: Dataset) -> None:
    """Store an empty dataset, with its audit event. Raises NameTaken."""
    work.datasets.add(dataset)
    audit.record(
        work,
        Action.DATASET_CREATED,
        f"datasets/{dataset.name}",
        now=dataset.created_at,
        after={"kind": dataset.kind.value},
    )


def describe_dataset(
    platform: Platform,
    reference: str,
    *,
    description: str | None,
    metadata: Mapping[str, str] | None,
) -> Dataset:
    """Replace the description and the metadata of a dataset; None leaves one as it is.

    Raises DatasetNotFound.
    """
    with platform.transactions() as work:
        found = work.datasets.get(reference, lock=True)
        changed = replace(
            found,
            description=found.description if description is None else description,
            metadata=found.metadata if metadata is None else dict(metadata),
        )
        if changed != found:
            work.datasets.describe(found.id, description=description, metadata=metadata)
            audit.record(
                work,
                Action.DATASET_DESCRIBED,
                f"datasets/{found.name}",
                now=platform.clock(),
                before=_description_of(found),
                after=_description_of(changed),
            )
        work.commit()
    return changed


def _description_of(dataset: Dataset) -> Json:
    return {"description": dataset.description, "metadata": dict(dataset.metadata)}


def require_room(platform: Platform, arriving: int = 0) -> None:
    """Raise StorageFull unless the free space that the settings require is left on the disk.

    `arriving` is the number of bytes that are about to be stored, as far as it is known.
    """
    free = platform.artifacts.free_bytes()
    if free - arriving < platform.settings.min_free_bytes:
        raise StorageFull(free_bytes=free, needed_bytes=arriving or None)


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
        text = clean_text(kind, text)
        image, thumbnail = receive_image(keep, decoder, data)
    except Invalid as refusal:
        return replace(upload, refusal=refusal)
    return replace(upload, text=text, image=image, thumbnail=thumbnail)


def clean_text(kind: DatasetKind, text: str) -> str:
    """Return a class or a caption, cleaned. Raises ClassInvalid or CaptionInvalid."""
    return clean_class(text) if kind is DatasetKind.LABELLED else clean_caption(text)


def receive_image(
    keep: Callable[[bytes], Digest], decoder: Decoder, data: bytes
) -> ImageWithThumbnail:
    """Decode one untrusted image and keep its one form.

    Raises UnsupportedImage, ImageCorrupt, ImageTooLarge or ImageAnimated.
    """
    decoded = decoder.decode(data)
    image = Image(
        pixels=decoded.pixels,
        artifact=keep(decoded.data),
        width=decoded.width,
        height=decoded.height,
        size=len(decoded.data),
        dhash=decoded.dhash,
    )
    return image, decoded.thumbnail
