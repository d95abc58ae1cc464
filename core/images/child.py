"""The program of the process that decodes untrusted images, one at a time.

It has no knowledge of the service and an empty environment, is confined, and exchanges `frames`.
The data of a request is an image, for `PIXELS` after a description of the tower's input. The result
is for `DECODE` a head and the stored image, for `PREVIEW` a small image, for `PIXELS` the bytes of
RGB pixels.
"""

import copy  # noqa: F401 - Pillow imports it for animations, when files can no longer be opened
import hashlib
import io
import socket
import struct
import sys

from PIL import Image

from core.images.confinement import confine, keep_freed_memory
from core.images.frames import OK, READY, TOO_LARGE, Reply, frame, serve
from core.images.inputs import INPUT, unpack_input
from core.images.pixels import kind_of, shrink, stored_form, tower_pixels

DECODE, PREVIEW, PIXELS = b"d", b"p", b"x"
UNSUPPORTED, ANIMATED = b"U", b"A"
HEAD = struct.Struct(">II32s192s")  # width, height, pixels digest, thumbnail
PREVIEW_SIDE = 256  # pixels


def main() -> None:
    """Decode until the parent closes the socket. Arguments: memory bytes, seconds, pixels, side."""
    memory, seconds, max_pixels, side = (int(value) for value in sys.argv[1:5])
    Image.MAX_IMAGE_PIXELS = None  # `decode` checks `max_pixels` before decoding
    Image.preinit()
    # The rest of what `kind_of` accepts; all of Pillow's formats take twice as long to load.
    from PIL import MpoImagePlugin, WebPImagePlugin  # noqa: F401

    keep_freed_memory()
    with socket.socket(fileno=0) as parent:
        parent.sendall(frame(READY, ",".join(confine(memory)).encode()))
        tasks = {
            DECODE: lambda data: decode(data, max_pixels, side),
            PREVIEW: lambda data: preview(data, max_pixels),
            PIXELS: lambda data: pixels(data, max_pixels, side),
        }
        serve(parent, seconds, tasks)


def decode(data: bytes, max_pixels: int, side: int) -> Reply:
    """Decode one image to its stored form."""
    image = read(data, max_pixels, side)
    return image if isinstance(image, tuple) else (OK, pack(image))


def pixels(data: bytes, max_pixels: int, side: int) -> Reply:
    """Decode one image to the pixels that its stored form gives as a tower's input."""
    image = read(data[INPUT.size :], max_pixels, side)
    if isinstance(image, tuple):
        return image
    return OK, tower_pixels(image, unpack_input(data)).tobytes()


def read(data: bytes, max_pixels: int, side: int) -> Image.Image | Reply:
    """Return one image as it is stored, or the reply that refuses it."""
    kind = kind_of(data)
    if kind is None:
        return UNSUPPORTED, b""
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if image.width * image.height > max_pixels:
            return TOO_LARGE, b""
        # A JPEG's further frames are previews and depth maps that cameras add, not animation.
        if kind != "JPEG" and getattr(image, "is_animated", False):
            return ANIMATED, b""
        image.load()
        return stored_form(image, side)


def preview(data: bytes, max_pixels: int) -> Reply:
    """Return a small lossy WebP of a stored image."""
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        if image.width * image.height > max_pixels:
            return TOO_LARGE, b""
        small = shrink(image.convert("RGB"), PREVIEW_SIDE)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80, method=4)
    return OK, out.getvalue()


def pack(image: Image.Image) -> bytes:
    """Return head and lossless WebP, without the original file's metadata."""
    pixels = hashlib.sha256(struct.pack(">II", *image.size))
    pixels.update(image.tobytes())
    stored = io.BytesIO()
    # Effort 20 and method 1: within 1 % of the smallest file at a third of the time.
    image.save(stored, "WEBP", lossless=True, quality=20, method=1)
    head = HEAD.pack(*image.size, pixels.digest(), thumbnail(image))
    return head + stored.getvalue()


def thumbnail(image: Image.Image) -> bytes:
    """Return 8 x 8 pixels of 3 bytes, each the weighted mean of its surroundings."""
    return image.resize((8, 8), Image.Resampling.BILINEAR).tobytes()
