"""Pictures as files, and a decoder with small limits."""

import io
import struct
import zlib
from typing import Any

from PIL import Image

from core.images.sandbox import Limits, SandboxDecoder

SIDE = 64

MAX_PIXELS = 1_000_000


def make_decoder(**changes: Any) -> SandboxDecoder:
    processes = changes.pop("processes", 1)
    limits = {
        "seconds": 10.0,
        "memory_bytes": 512 * 1024 * 1024,
        "max_pixels": MAX_PIXELS,
        "stored_side": SIDE,
    }
    return SandboxDecoder(Limits(**{**limits, **changes}), processes=processes)


def picture(width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    """A picture without any symmetry: red grows to the right, green downwards."""
    ramp = Image.linear_gradient("L")
    red, green = ramp.rotate(90).resize((width, height)), ramp.resize((width, height))
    made = Image.merge("RGB", (red, green, Image.new("L", (width, height), 60)))
    return made.convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_of_zeros(width: int, height: int) -> bytes:
    """A small file that promises very many pixels."""
    rows = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    packed = b"".join([*(rows.compress(row) for _ in range(64)), rows.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
