"""The images that datasets share."""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from core.adapters.database.statements import chunks, insert_missing
from core.adapters.database.tables.datasets import dataset_images, datasets, images
from core.adapters.database.tables.erasures import erased_images
from core.domain.datasets.dataset import Image
from core.domain.values import Digest
from core.errors import ImageErased


def keep_images(connection: Connection, kept: Sequence[Image]) -> None:
    """Store images, and update those that are known.

    Their rows are locked, always in the same order: while a stored form is replaced, nobody can
    add the image to a dataset, whose revision would then miss the change. Raises ImageErased.
    """
    kept = sorted(kept, key=lambda image: image.pixels)
    insert_missing(connection, images, [_values(image) for image in kept])
    stored: dict[Digest, Digest] = {}
    for chunk in chunks(list(dict.fromkeys(image.pixels for image in kept))):
        query = select(images.c.pixels, images.c.artifact).where(images.c.pixels.in_(chunk))
        query = query.order_by(images.c.pixels).with_for_update(key_share=True)
        stored.update((row.pixels, row.artifact) for row in connection.execute(query))
        erased = select(erased_images.c.pixels).where(erased_images.c.pixels.in_(chunk))
        if found := sorted(set(connection.scalars(erased))):
            raise ImageErased(pixels=found[:20])
    for image in kept:
        if stored[image.pixels] != image.artifact:
            _replace(connection, image)


def _replace(connection: Connection, image: Image) -> None:
    """Replace an image's row and increment the revision of every dataset that holds it."""
    holders = select(dataset_images.c.dataset).where(dataset_images.c.pixels == image.pixels)
    revision = datasets.c.revision + 1
    connection.execute(update(datasets).where(datasets.c.id.in_(holders)).values(revision=revision))
    replaced = update(images).where(images.c.pixels == image.pixels)
    connection.execute(replaced.values(_values(image)))


def _values(image: Image) -> dict[str, object]:
    return {name: value for name, value in vars(image).items() if name in images.c}
