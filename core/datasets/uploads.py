"""Decode uploaded files, and answer what became of each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from core.datasets.image_lists import ImageWithThumbnail
from core.datasets.manifests import Side
from core.datasets.rules import DatasetKind, Image
from core.errors import Invalid, LabelConflict, StorageFull
from core.images.decoder import Decoder
from core.platform import Platform
from core.values import Digest, clean_caption, clean_class, clean_file_label


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
    side: Side | None = None  # None: the next version of a dataset that holds it decides
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
    """Return a class or a caption, cleaned. Raises ClassInvalid or CaptionInvalid.

    An unlabelled image has an empty text, whatever comes with it.
    """
    if kind is DatasetKind.UNLABELLED:
        return ""
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
    )
    return image, decoded.thumbnail
