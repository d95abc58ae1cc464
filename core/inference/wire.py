"""Requests to the inference process as the API writes and the inference process reads them.

A body is 4 bytes of length, a JSON object of that length, and the pixels of the images one after
the other: for each, RGB bytes row by row, of the input size of the version's image tower. A list of
classes' texts is named by its digest, and sent only when the inference process does not know it.

The reply to `/embed` has for each input the number of tokens that the text tower read of it, as a
little-endian uint32 (0 for an image), and then its vector as little-endian float32.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from core.errors import InferenceUnavailable, Malformed
from core.values import Json

MEDIA_TYPE = "application/octet-stream"
DEVICE = "X-Device"  # the header of an answer that names the kind of device: cpu or cuda
TEXTS_UNKNOWN = "texts_unknown"  # the code of an answer that asks for the texts themselves
_LENGTH = struct.Struct(">I")
_TOKENS = struct.Struct("<I")


class Embedded(NamedTuple):
    """An input's vector as little-endian float32, and how many tokens were read of it."""

    vector: bytes
    tokens: int


def write_request(head: Json, images: Sequence[bytes] = ()) -> bytes:
    """Return the body of a request."""
    text = json.dumps(head, ensure_ascii=False).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *images])


def read_request(body: bytes | bytearray) -> tuple[dict[str, Any], memoryview]:
    """Return the JSON object and the pixels of a body. Raises Malformed."""
    try:
        (length,) = _LENGTH.unpack_from(body)
        begin = _LENGTH.size + length  # of the pixels
        head = json.loads(body[_LENGTH.size : begin])
    except (struct.error, ValueError, RecursionError) as fault:
        raise Malformed("The body has no JSON object of the given length.") from fault
    if not isinstance(head, dict) or begin > len(body):
        raise Malformed("The body must begin with a JSON object of the given length.")
    return head, memoryview(body)[begin:]


def write_embedded(found: Iterable[Embedded]) -> bytes:
    """Return the body of a reply to `/embed`."""
    return b"".join(part for one in found for part in (_TOKENS.pack(one.tokens), one.vector))


def read_embedded(body: bytes, count: int) -> list[Embedded]:
    """Return what a reply to `/embed` says of `count` inputs.

    Raises InferenceUnavailable if it cannot be about so many.
    """
    size, rest = divmod(len(body), count)
    if rest or size % 4 or size <= _TOKENS.size:
        raise InferenceUnavailable("The inference process answered with another number of vectors.")
    rows = (body[first : first + size] for first in range(0, len(body), size))
    return [Embedded(row[_TOKENS.size :], *_TOKENS.unpack_from(row)) for row in rows]


# Limits of requests.

MAX_IMAGES = 64  # per request: what the image tower encodes in one pass
MAX_IMAGE_BYTES = 16 * 1024 * 1024  # of the pixels of all images together
MAX_FIELD_BYTES = 16 * 1024 * 1024  # ten thousand prompts of four-byte characters
MAX_TEXTS = 10_000
TEXTS_AT_ONCE = 256  # in one pass, which bounds the memory of the tower's activations
MAX_BODY_BYTES = MAX_IMAGE_BYTES + MAX_FIELD_BYTES + 64 * 1024


def images_per_request(image_bytes: int) -> int:
    """Return how many images of a size one request may hold, at least one."""
    return max(1, min(MAX_IMAGES, MAX_IMAGE_BYTES // image_bytes))
