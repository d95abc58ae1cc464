"""The process that decodes one untrusted image after another.

It knows nothing of the service, has an empty environment, is confined, and speaks frames over
standard input, which is a socket. A request is 4 bytes of length and an image; a reply is 1 byte
of outcome, 4 bytes of length and, for `OK`, the stored image behind a head. Before the first
request it sends `READY` with the layers of its confinement.
"""

import copy  # noqa: F401 - Pillow imports it when it meets an animation, when no file opens
import hashlib
import io
import signal
import socket
import struct
import sys
from collections.abc import Callable

from PIL import Image, ImageOps

from core.adapters.images.confinement import confine

READY = b"R"
OK, UNSUPPORTED, CORRUPT, TOO_LARGE, ANIMATED = b"O", b"U", b"C", b"L", b"A"
LENGTH = struct.Struct(">I")
HEAD = struct.Struct(">II32s8s192s")  # width, height, pixels digest, difference hash, thumbnail
WHITE = (255, 255, 255)

# What may be wrong with a file, as Pillow's plugins say it. Anything else ends the process.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)

Reply = tuple[bytes, bytes]


def main() -> None:
    """Decode until the parent hangs up. Arguments: memory bytes, seconds, pixels, side."""
    memory, seconds, max_pixels, side = (int(value) for value in sys.argv[1:5])
    Image.MAX_IMAGE_PIXELS = None  # the cap below answers by name, before decoding
    Image.preinit()
    Image.init()
    with socket.socket(fileno=0) as parent:
        parent.sendall(frame(READY, ",".join(confine(memory)).encode()))
        serve(parent, seconds, lambda data: decode(data, max_pixels, side))


def serve(parent: socket.socket, seconds: int, answer: Callable[[bytes], Reply]) -> None:
    """Answer requests one by one."""
    while head := receive(parent, LENGTH.size):
        data = receive(parent, LENGTH.unpack(head)[0])
        signal.alarm(seconds)  # ends a decoder that hangs, also when nobody waits any more
        outcome, body = answer(data)
        signal.alarm(0)
        parent.sendall(frame(outcome, body))


def frame(outcome: bytes, body: bytes) -> bytes:
    """Return a reply as it is sent."""
    return outcome + LENGTH.pack(len(body)) + body


def receive(parent: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, or none when the parent has gone."""
    data = bytearray()
    while len(data) < size:
        block = parent.recv(min(size - len(data), 1 << 20))
        if not block:
            return b""
        data += block
    return bytes(data)


def decode(data: bytes, max_pixels: int, side: int) -> Reply:
    """Decode one image to its stored form."""
    kind = kind_of(data)
    if kind is None:
        return UNSUPPORTED, b""
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            if image.width * image.height > max_pixels:
                return TOO_LARGE, b""
            # A JPEG's further frames are previews and depth maps that cameras add, not animation.
            if kind != "JPEG" and getattr(image, "is_animated", False):
                return ANIMATED, b""
            image.load()
            stored = shrink(flatten(ImageOps.exif_transpose(image)), side)
        return OK, pack(stored)
    except MemoryError:
        return TOO_LARGE, b""
    except BROKEN:
        return CORRUPT, b""


def kind_of(data: bytes) -> str | None:
    """Pillow's name of the format that the first bytes promise, if it is one we take."""
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
    """RGB on white, 8 bits a channel."""
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow would clip, not scale them
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGB", layer.size, WHITE)
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def shrink(image: Image.Image, side: int) -> Image.Image:
    """The image with its longest side at most `side`; never enlarged."""
    longest = max(image.size)
    if longest <= side:
        return image
    size = tuple(max(1, round(length * side / longest)) for length in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def pack(image: Image.Image) -> bytes:
    """Head and lossless WebP; nothing of the file's metadata is in it."""
    size = struct.pack(">II", *image.size)
    pixels = hashlib.sha256(size + image.tobytes()).digest()
    stored = io.BytesIO()
    # Effort 20 and method 1: within 1 % of the smallest file at a third of the time.
    image.save(stored, "WEBP", lossless=True, quality=20, method=1)
    head = HEAD.pack(*image.size, pixels, difference_hash(image), thumbnail(image))
    return head + stored.getvalue()


def thumbnail(image: Image.Image) -> bytes:
    """8 x 8 pixels of 3 bytes, each the weighted mean of what lies around it."""
    return image.resize((8, 8), Image.Resampling.BILINEAR).tobytes()


def difference_hash(image: Image.Image) -> bytes:
    """64 bits: whether each of 8 x 8 cells is brighter than the one right of it."""
    grey = image.convert("L").resize((9, 8), Image.Resampling.BILINEAR).tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            bits = bits << 1 | (grey[row * 9 + column] > grey[row * 9 + column + 1])
    return bits.to_bytes(8, "big")
