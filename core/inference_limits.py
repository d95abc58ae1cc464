"""Limits of requests to the inference process, shared by the API, which sends them."""

MAX_IMAGES = 64  # per request: what the image tower encodes in one pass
MAX_IMAGE_BYTES = 16 * 1024 * 1024  # of the pixels of all images together
MAX_FIELD_BYTES = 16 * 1024 * 1024  # ten thousand prompts of four-byte characters
MAX_TEXTS = 10_000
TEXTS_AT_ONCE = 256  # in one pass, which bounds the memory of the tower's activations
MAX_BODY_BYTES = MAX_IMAGE_BYTES + MAX_FIELD_BYTES + 64 * 1024


def images_per_request(image_bytes: int) -> int:
    """Return how many images of a size one request may hold, at least one."""
    return max(1, min(MAX_IMAGES, MAX_IMAGE_BYTES // image_bytes))
