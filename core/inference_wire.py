"""Requests to the inference process as the API writes and the inference process reads them.

A body is 4 bytes of length, a JSON object of that length, and the pixels of the images one after
the other: for each, RGB bytes row by row, of the input size of the version's image tower. A list of
classes' texts is named by its digest, and sent only when the inference process does not know it.

The reply to `/embed` is one vector after the other, each as little-endian float32.
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

from core.domain.values import Json
from core.errors import Malformed

MEDIA_TYPE = "application/octet-stream"
TEXTS_UNKNOWN = "texts_unknown"  # the code of an answer that asks for the texts themselves
_LENGTH = struct.Struct(">I")


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
