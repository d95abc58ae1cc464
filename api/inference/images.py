"""Images to classify or embed: the pixels that a version takes of each, or why it was refused."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request

from api.datasets.schemas import ReceiptError
from api.dependencies import Services
from api.http.forms import Form, Part, data_of, receive_form, text_field
from core import errors
from core.inference.classify import Resolved
from core.values import clean_file_label

EXPECT_DIGEST = "Refuse if the reference resolves to another digest."


ERRORS = (  # of every question about images
    errors.ModelNotFound,
    errors.AliasNotFound,
    errors.VersionNotFound,
    errors.NotServable,
    errors.UnsupportedImage,
    errors.ImageCorrupt,
    errors.ImageTooLarge,
    errors.ImageAnimated,
    errors.FileTooLarge,
    errors.InferenceUnavailable,
    errors.EngineUnavailable,
    errors.InferenceBusy,
)

FORM_ERRORS = (  # of those that are asked in a form
    *ERRORS,
    errors.EmbeddingSpaceChanged,
    errors.AllRejected,
    errors.MalformedMultipart,
    errors.BodyTooLarge,
    errors.TooManyParts,
)

FIELDS = {  # their schemas
    "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
    "expect_digest": {"type": "string", "description": EXPECT_DIGEST},
}


@dataclass(frozen=True)
class ReceivedImage:
    """An image that was sent, decoded or refused."""

    file: str
    pixels: bytes = b""  # of the version's input
    refusal: errors.Invalid | None = None
    original: bytes = b""  # as it was sent, if that was to be kept and there was room

    @property
    def error(self) -> ReceiptError | None:
        """The refusal as a reply shows it."""
        if self.refusal is None:
            return None
        return ReceiptError(code=self.refusal.code, detail=self.refusal.message)


@asynccontextmanager
async def received_images(
    request: Request,
    services: Services,
    resolved: Resolved,
    *,
    fields: Sequence[str],
    originals: bool = False,
) -> AsyncIterator[Form[ReceivedImage]]:
    """Receive a form of images, each decoded to the pixels that a version takes.

    With `originals`, what was sent is kept as well, as long as few bytes are held.

    Raises EmbeddingSpaceChanged if the version has not the digest that the form expects,
    InferenceBusy if requests hold too many pixels, and what `receive_form` raises; the refusals of
    images are in the form.
    """
    with services.pixels.request() as take:

        def decode(part: Part) -> ReceivedImage:
            label = clean_file_label(part.file_name)
            try:
                data = data_of(part)
                take(resolved.input.size)
                pixels = services.decoder.pixels(data, resolved.input)
                kept = data if originals and take.spare(len(data)) else b""
                return ReceivedImage(label, pixels, original=kept)
            except errors.Invalid as refusal:
                return ReceivedImage(label, refusal=refusal)

        form = await receive_form(request, services, decode, fields=[*fields, "expect_digest"])
        resolved.require_digest(text_field(form.fields, "expect_digest"))
        yield form


def readable_pixels(images: Sequence[ReceivedImage]) -> list[bytes]:
    """Return the pixels of those images that were not refused.

    If all were, raise the refusal of a single one, or an error that lists those of several.
    """
    refusals = [(image.file, image.refusal) for image in images if image.refusal]
    if len(refusals) < len(images):
        return [image.pixels for image in images if image.refusal is None]
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
