"""Limits of requests to the inference process, shared by the API, which sends them."""

from collections.abc import Iterator, Sequence

MAX_IMAGES = 64  # per request: what the image tower encodes in one pass
MAX_IMAGE_BYTES = 16 * 1024 * 1024  # of all images together, in a request with more than one
MAX_FIELD_BYTES = 16 * 1024 * 1024  # ten thousand classes or prompts of four-byte characters
MAX_TEXTS = 10_000


def chunked(images: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield the images in order, as many at a time as one request may hold."""
    part: list[bytes] = []
    size = 0
    for image in images:
        if part and (len(part) == MAX_IMAGES or size + len(image) > MAX_IMAGE_BYTES):
            yield part
            part, size = [], 0
        part.append(image)
        size += len(image)
    if part:
        yield part


def body_limit(stored_side: int) -> int:
    """Return the bytes of the largest request: its images, or a single large one, and its texts.

    No stored image is larger than its raw pixels and some room for the file around them.
    """
    images = max(MAX_IMAGE_BYTES, image_limit(stored_side))
    return images + 2 * MAX_FIELD_BYTES + 1024 * (MAX_IMAGES + 8)  # each part has its own head


def image_limit(stored_side: int) -> int:
    """Return the bytes of the largest stored image."""
    return stored_side * stored_side * 4 + 65536
