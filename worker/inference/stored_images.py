"""Reading of stored images, the only form that the inference process accepts."""

import io
import struct

from PIL import Image

from core.errors import ImageCorrupt, ImageTooLarge, UnsupportedImage
from core.inference_limits import image_limit

# A file of a single lossless WebP stream: RIFF, its size, WEBP, VP8L, its size, the signature, and
# 14 bits each of width and height, both minus one.
_HEAD = struct.Struct("<4s4x4s4s4xBI")
_SIGNATURE = 0x2F
_SIDE_BITS = 14


def read_stored(data: bytes, *, side: int) -> Image.Image:
    """Return the RGB image of stored bytes, both of its sides at most `side` pixels.

    Form and size are read from the header before anything is decoded. Raises UnsupportedImage,
    ImageTooLarge or ImageCorrupt.
    """
    size = _size(data)
    if max(size) > side or len(data) > image_limit(side):
        raise ImageTooLarge(f"A stored image must have at most {side} x {side} pixels.")
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            if image.size != size:
                raise ImageCorrupt
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as fault:
        raise ImageCorrupt from fault


def _size(data: bytes) -> tuple[int, int]:
    if len(data) < _HEAD.size:
        raise UnsupportedImage("Images come in their stored form: lossless WebP.")
    riff, webp, stream, signature, sides = _HEAD.unpack_from(data)
    if (riff, webp, stream, signature) != (b"RIFF", b"WEBP", b"VP8L", _SIGNATURE):
        raise UnsupportedImage("Images come in their stored form: lossless WebP.")
    most = (1 << _SIDE_BITS) - 1
    return 1 + (sides & most), 1 + (sides >> _SIDE_BITS & most)
