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
from collections.abc import Callable

from PIL import Image, ImageOps

from core.images.confinement import confine, keep_freed_memory
from core.images.frames import OK, READY, TOO_LARGE, Reply, frame, serve
from core.values import ImageInput

DECODE, PREVIEW, PIXELS = b"d", b"p", b"x"
UNSUPPORTED, ANIMATED = b"U", b"A"
HEAD = struct.Struct(">II32s192s")  # width, height, pixels digest, thumbnail
INPUT = struct.Struct(">II10s10si")  # height, width, resize mode, interpolation, fill colour
WHITE = (255, 255, 255)
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


def pack_input(wanted: ImageInput) -> bytes:
    """Return the bytes that precede an image whose pixels are asked for."""
    names = wanted.resize_mode.encode(), wanted.interpolation.encode()
    return INPUT.pack(wanted.height, wanted.width, *names, wanted.fill_color)


def unpack_input(data: bytes) -> ImageInput:
    """Return what `pack_input` wrote to the beginning of `data`."""
    height, width, mode, interpolation, fill = INPUT.unpack_from(data)
    return ImageInput(
        height=height,
        width=width,
        resize_mode=mode.rstrip(b"\0").decode(),
        interpolation=interpolation.rstrip(b"\0").decode(),
        fill_color=fill,
    )


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
        ImageOps.exif_transpose(image, in_place=True)
        return shrink(flatten(image), side)


def preview(data: bytes, max_pixels: int) -> Reply:
    """Return a small lossy WebP of a stored image."""
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        if image.width * image.height > max_pixels:
            return TOO_LARGE, b""
        small = shrink(image.convert("RGB"), PREVIEW_SIDE)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=80, method=4)
    return OK, out.getvalue()


def kind_of(data: bytes) -> str | None:
    """Return Pillow's name of the format, judged by the first bytes, or None if not accepted."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return "GIF"
    if data[:2] == b"BM" and data[14:18] in {bytes([size, 0, 0, 0]) for size in BMP_HEADERS}:
        return "BMP"
    return None


BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes


def flatten(image: Image.Image) -> Image.Image:
    """Return the image in RGB on a white ground, with 8 bits per channel."""
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow would clip, not scale them
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGB", layer.size, WHITE)
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Return the image, reduced if need be so that its longest side is at most `side`."""
    longest = max(image.size)
    if longest <= side:
        return image
    size = tuple(max(1, round(length * side / longest)) for length in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


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


# The geometry of evaluation: an image becomes the pixels that an image tower takes.
#
# It is that of open_clip's evaluation transform, in Pillow alone, so that the confined process that
# decodes untrusted images computes the very pixels that evaluation computes.


def tower_pixels(image: Image.Image, wanted: ImageInput) -> Image.Image:
    """Return an RGB image resized and cropped to a tower's input."""
    match wanted.resize_mode:
        case "squash":
            return _resized(image, (wanted.width, wanted.height), filter_of(wanted))
        case "longest":
            resized = _resized(image, _fitted(image, wanted, max), filter_of(wanted))
            return _centre(resized, wanted, fill=wanted.fill_color)
        case "shortest" if wanted.width == wanted.height:
            resized = _resized(image, _short_side(image, wanted.width), filter_of(wanted))
        case "shortest":  # here open_clip always takes the bicubic filter
            bicubic = Image.Resampling.BICUBIC
            resized = _resized(image, _fitted(image, wanted, min), bicubic)
        case _:
            raise ValueError(f"unknown resize_mode {wanted.resize_mode!r}")
    return _centre(resized, wanted, fill=0)


def filter_of(wanted: ImageInput) -> Image.Resampling:
    """Return the filter by which images are resized."""
    linear = wanted.interpolation == "bilinear"
    return Image.Resampling.BILINEAR if linear else Image.Resampling.BICUBIC


def _resized(
    image: Image.Image, size: tuple[int, int], resampling: Image.Resampling
) -> Image.Image:
    return image if image.size == size else image.resize(size, resampling)


def _short_side(image: Image.Image, side: int) -> tuple[int, int]:
    """Return the size at which the image's short side is `side` pixels."""
    if image.width <= image.height:
        return side, int(side * image.height / image.width)
    return int(side * image.width / image.height), side


def _fitted(
    image: Image.Image, wanted: ImageInput, of: Callable[[float, float], float]
) -> tuple[int, int]:
    """Return the image's size divided by the larger or smaller ratio of its sides to `wanted`.

    A thin image keeps a pixel, where open_clip would round its side to none and fail.
    """
    ratio = of(image.height / wanted.height, image.width / wanted.width)
    return max(1, round(image.width / ratio)), max(1, round(image.height / ratio))


def _centre(image: Image.Image, wanted: ImageInput, *, fill: int) -> Image.Image:
    """Return the image's centre, after filling up the sides that are too short."""
    wide, high = max(0, wanted.width - image.width), max(0, wanted.height - image.height)
    if wide or high:
        border = (wide // 2, high // 2, (wide + 1) // 2, (high + 1) // 2)
        image = ImageOps.expand(image, border, fill=(fill, fill, fill))
    left = round((image.width - wanted.width) / 2)
    top = round((image.height - wanted.height) / 2)
    box = (left, top, left + wanted.width, top + wanted.height)
    return image if image.size == (wanted.width, wanted.height) else image.crop(box)
