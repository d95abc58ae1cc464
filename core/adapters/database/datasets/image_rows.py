"""Rows of images in datasets."""

from typing import Any

from sqlalchemy import Row, Select, select

from core.adapters.database.tables.datasets import dataset_images, images, thumbnails
from core.domain.datasets.dataset import DatasetImage, Image
from core.domain.values import DatasetId


def images_of(dataset: DatasetId) -> Select[Any]:
    """Return the query of the images in a dataset, once for each text, by pixels and text."""
    rows = dataset_images
    return (
        select(
            images,
            thumbnails.c.near_duplicate_of,
            *(rows.c.dataset, rows.c.text, rows.c.file_label, rows.c.added_at),
        )
        .join(rows, rows.c.pixels == images.c.pixels)
        .outerjoin(thumbnails, thumbnails.c.pixels == images.c.pixels)
        .where(rows.c.dataset == dataset)
        .order_by(rows.c.pixels, rows.c.text)
    )


def to_image(row: Row[Any]) -> DatasetImage:
    """Return an image in a dataset."""
    return DatasetImage(
        dataset=row.dataset,
        image=Image(
            pixels=row.pixels,
            artifact=row.artifact,
            width=row.width,
            height=row.height,
            size=row.size,
            dhash=row.dhash,
            near_duplicate_of=row.near_duplicate_of,
        ),
        text=row.text,
        file_label=row.file_label,
        added_at=row.added_at,
    )
