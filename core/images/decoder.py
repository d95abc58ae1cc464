"""The decoder of untrusted images."""

from dataclasses import dataclass
from typing import Protocol

from core.images.inputs import ImageInput
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """An image decoded in the sandbox: its stored form and what identifies it."""

    data: bytes  # the stored form: lossless WebP, RGB, bounded longest side, no metadata
    pixels: Digest  # SHA-256 of width, height and RGB bytes of the stored form
    width: int
    height: int
    thumbnail: str  # 384 hex: 8 x 8 pixels of RGB


class Decoder(Protocol):
    def decode(self, data: bytes) -> DecodedImage:
        """Decode an upload.

        Raises UnsupportedImage, ImageCorrupt, ImageTooLarge or ImageAnimated.
        """

    def pixels(self, data: bytes, wanted: ImageInput) -> bytes:
        """Decode an image to a tower's input: RGB bytes, row by row.

        They are those of the image's stored form. Raises UnsupportedImage, ImageCorrupt,
        ImageTooLarge or ImageAnimated.
        """

    def preview(self, data: bytes) -> bytes:
        """Return a small lossy WebP of a stored image. Raises ImageCorrupt or ImageTooLarge."""
