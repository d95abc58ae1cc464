"""Images to classify or embed: the pixels that a version takes of each, or why it was refused."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.dependencies import Services
from api.http.forms.multipart import Part
from api.http.forms.uploads import data_of
from core import errors
from core.domain.values import clean_file_label
from core.use_cases.inference.classify import Resolved

IMAGE_ERRORS = (
    errors.UnsupportedImage,
    errors.ImageCorrupt,
    errors.ImageTooLarge,
    errors.ImageAnimated,
)


@dataclass(frozen=True)
class ReceivedImage:
    """An image that was sent, decoded or refused."""

    file: str
    pixels: bytes = b""  # of the version's input
    refusal: errors.Invalid | None = None


def decode_part(services: Services, resolved: Resolved, part: Part) -> ReceivedImage:
    """Decode one file of a form; runs in a thread."""
    label = clean_file_label(part.file_name)
    try:
        return ReceivedImage(label, services.decoder.pixels(data_of(part), resolved.input))
    except errors.Invalid as refusal:
        return ReceivedImage(label, refusal=refusal)


def require_readable(images: Sequence[ReceivedImage]) -> None:
    """Raise the refusal of a single image, or an error that lists the refusals of all."""
    refusals = [(image.file, image.refusal) for image in images if image.refusal]
    if len(refusals) < len(images):
        return
    if not refusals:
        raise errors.FieldInvalid("Send at least one image.", pointer="/images")
    if len(refusals) == 1:
        raise refusals[0][1]
    raise errors.AllRejected(
        files=[
            {"file": file, "error": {"code": why.code, "detail": why.message}}
            for file, why in refusals
        ]
    )
