"""Images in batches, each small enough for one request."""

from collections.abc import Iterable, Iterator

from perennial.image_files import Image, ImageFile, in_memory

BATCH_IMAGES = 200
BATCH_BYTES = 128 * 1024**2

Batch = list[tuple[str, ImageFile]]


def batches(images: Iterable[tuple[str, Image]]) -> Iterator[Batch]:
    """Yield batches of images with their texts; images on disk are read batch by batch."""
    batch: Batch = []
    size = 0
    for text, image in images:
        found = in_memory(image)
        if batch and (len(batch) == BATCH_IMAGES or size + len(found.data) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((text, found))
        size += len(found.data)
    if batch:
        yield batch
