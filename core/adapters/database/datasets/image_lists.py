"""The images in datasets, as they are read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, func, or_, select

from core.adapters.database.statements import chunks
from core.adapters.database.tables.datasets import (
    HAS_THUMBNAIL,
    dataset_images,
    datasets,
    images,
    thumbnails,
)
from core.domain.datasets.dataset import DatasetImage, DatasetKind, Image
from core.domain.datasets.near_duplicates import NearDuplicates
from core.domain.datasets.statistics import Member
from core.domain.values import DatasetId, Digest
from core.errors import DatasetNotFound

SHOWN = 100  # images of one group


class SqlImageLists:
    """The part of the `Datasets` port that reads images."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def texts(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[Digest, Sequence[str]]:
        """Return the images' texts in the dataset, without images that it does not hold."""
        found: dict[Digest, list[str]] = {}
        for chunk in chunks(pixels):
            query = (
                select(dataset_images.c.pixels, dataset_images.c.text)
                .where(dataset_images.c.dataset == dataset, dataset_images.c.pixels.in_(chunk))
                .order_by(dataset_images.c.text)
            )
            for row in self._connection.execute(query):
                found.setdefault(row.pixels, []).append(row.text)
        return found

    def added_at(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[tuple[Digest, str], datetime]:
        """Return when images came into the dataset with each of their texts."""
        rows = dataset_images.c
        found: dict[tuple[Digest, str], datetime] = {}
        for chunk in chunks(pixels):
            query = select(rows.pixels, rows.text, rows.added_at).where(
                rows.dataset == dataset, rows.pixels.in_(chunk)
            )
            for row in self._connection.execute(query):
                found[row.pixels, row.text] = row.added_at
        return found

    def stored_bytes(self) -> int:
        """Return the bytes of the images in datasets, each counted once."""
        held = exists().where(dataset_images.c.pixels == images.c.pixels)
        return int(self._connection.scalar(select(func.sum(images.c.size)).where(held)) or 0)

    def missing_bytes(self, wanted: Collection[Image]) -> int:
        """Return the bytes of those images that no dataset holds, each counted once."""
        sizes = {image.pixels: image.size for image in wanted}
        for chunk in chunks(list(sizes)):
            held = select(dataset_images.c.pixels).where(dataset_images.c.pixels.in_(chunk))
            for pixels in self._connection.scalars(held.distinct()):
                del sizes[pixels]
        return sum(sizes.values())

    def images(self, dataset: DatasetId) -> Sequence[DatasetImage]:
        """Return all images by pixels, one row per text."""
        return [_to_image(row) for row in self._connection.execute(_images_of(dataset))]

    def image_page(
        self, dataset: DatasetId, limit: int, after: Digest | None, *, text: str | None = None
    ) -> Sequence[DatasetImage]:
        """Return all rows of up to `limit` images, by pixels: no image is split between pages.

        With `text`, only images that have it as class or caption are returned.
        """
        wanted = [] if text is None else [dataset_images.c.text == text]
        keys = (
            select(dataset_images.c.pixels)
            .distinct()
            .where(
                dataset_images.c.dataset == dataset,
                dataset_images.c.pixels > (after or ""),
                *wanted,
            )
            .order_by(dataset_images.c.pixels)
            .limit(limit)
        )
        query = _images_of(dataset).where(
            dataset_images.c.pixels.in_(select(keys.subquery().c.pixels))
        )
        return [_to_image(row) for row in self._connection.execute(query)]

    def near_duplicate_page(
        self, dataset: DatasetId, limit: int, after: Digest | None
    ) -> Sequence[NearDuplicates]:
        """Return up to `limit` groups of near-duplicates, each with its first images, by pixels.

        A group is of images that the dataset holds, at least two; the oldest may be elsewhere.
        """
        group = func.coalesce(thumbnails.c.near_duplicate_of, thumbnails.c.pixels)
        held = (
            select(thumbnails.c.pixels, group.label("found"))
            .join(dataset_images, thumbnails.c.pixels == dataset_images.c.pixels)
            .where(dataset_images.c.dataset == dataset, group > (after or ""))
            .distinct()
            .subquery()
        )
        ranked = select(
            held,
            func.count().over(partition_by=held.c.found).label("size_of_group"),
            func.row_number()
            .over(partition_by=held.c.found, order_by=held.c.pixels)
            .label("place"),
        ).subquery()
        several = select(ranked.c.found).where(ranked.c.size_of_group > 1, ranked.c.place == 1)
        page = several.order_by(ranked.c.found).limit(limit).subquery()
        query = (
            _images_of(dataset)
            .add_columns(ranked.c.size_of_group)
            .join(ranked, ranked.c.pixels == dataset_images.c.pixels)
            .where(ranked.c.found.in_(select(page.c.found)), ranked.c.place <= SHOWN)
            .order_by(None)
            .order_by(ranked.c.found, dataset_images.c.pixels, dataset_images.c.text)
        )
        rows = [(_to_image(row), row.size_of_group) for row in self._connection.execute(query)]
        groups = [list(same) for _, same in groupby(rows, key=lambda row: row[0].image.group)]
        return [
            NearDuplicates(
                group=same[0][0].image.group, count=same[0][1], rows=[image for image, _ in same]
            )
            for same in groups
        ]

    def members(self, dataset: DatasetId) -> Iterator[Member]:
        """Yield every image of a dataset, once for each of its texts, by pixels."""
        rows = dataset_images
        group = func.coalesce(thumbnails.c.near_duplicate_of, rows.c.pixels)
        query = (
            select(rows.c.pixels, group.label("group"), rows.c.text)
            .outerjoin(thumbnails, thumbnails.c.pixels == rows.c.pixels)
            .where(rows.c.dataset == dataset)
            .order_by(rows.c.pixels, rows.c.text)
        )
        for row in self._connection.execute(query):
            yield Member(pixels=row.pixels, group=row.group, text=row.text)

    def near_duplicates(self, pixels: Collection[Digest]) -> set[Digest]:
        """Return the other images of some images' groups."""
        group = func.coalesce(thumbnails.c.near_duplicate_of, thumbnails.c.pixels)
        found: set[Digest] = set()
        for chunk in chunks(pixels):
            groups = select(group).where(thumbnails.c.pixels.in_(chunk))
            members = select(thumbnails.c.pixels).where(
                or_(thumbnails.c.pixels.in_(groups), thumbnails.c.near_duplicate_of.in_(groups)),
                HAS_THUMBNAIL,
            )
            found.update(self._connection.scalars(members))
        return found - set(pixels)

    def stored(self, pixels: Digest) -> Image | None:
        """Return an image of any dataset, by its pixels."""
        query = (
            select(images, thumbnails.c.near_duplicate_of)
            .outerjoin(thumbnails, thumbnails.c.pixels == images.c.pixels)
            .where(images.c.pixels == pixels)
        )
        row = self._connection.execute(query).first()
        return Image(**row._mapping) if row is not None else None

    def count(self, dataset: DatasetId) -> Mapping[str, int]:
        """Return the number of images per class (for captioned datasets: {"": images})."""
        held = dataset_images.c.dataset == dataset
        if self._kind(dataset) is DatasetKind.CAPTIONED:
            query = select(func.count(dataset_images.c.pixels.distinct())).where(held)
            return {"": self._connection.scalar(query) or 0}
        text = dataset_images.c.text
        counts = (
            select(text, func.count().label("images")).where(held).group_by(text).order_by(text)
        )
        return {row.text: row.images for row in self._connection.execute(counts)}

    def _kind(self, dataset: DatasetId) -> DatasetKind:
        kind = self._connection.scalar(select(datasets.c.kind).where(datasets.c.id == dataset))
        if kind is None:
            raise DatasetNotFound(dataset=dataset)
        return DatasetKind(kind)


def _images_of(dataset: DatasetId) -> Select[Any]:
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


def _to_image(row: Row[Any]) -> DatasetImage:
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
