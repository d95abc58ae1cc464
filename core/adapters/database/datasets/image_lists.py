"""The images in datasets, as they are read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, exists, func, select

from core.adapters.database.datasets.count_cache import CountCache
from core.adapters.database.datasets.image_rows import images_of, to_image
from core.adapters.database.datasets.near_duplicates import SqlNearDuplicates
from core.adapters.database.statements import chunks
from core.adapters.database.tables.datasets import (
    dataset_images,
    datasets,
    images,
    thumbnails,
)
from core.adapters.database.tables.trials import trial_samples
from core.domain.datasets.dataset import DatasetImage, DatasetKind, Image
from core.domain.datasets.statistics import Member
from core.domain.values import DatasetId, Digest
from core.errors import DatasetNotFound


class SqlImageLists(SqlNearDuplicates):
    """The part of the `Datasets` port that reads images."""

    def __init__(self, connection: Connection, counts: CountCache) -> None:
        super().__init__(connection)
        self._counts = counts

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
        """Return the bytes of the images in datasets and of samples, each image counted once."""
        held = exists().where(dataset_images.c.pixels == images.c.pixels)
        in_datasets = select(func.sum(images.c.size)).where(held)
        own = ~exists().where(dataset_images.c.pixels == trial_samples.c.pixels)
        kept = select(func.max(trial_samples.c.size).label("size")).where(own)
        sizes = kept.group_by(trial_samples.c.pixels).subquery()
        sums = (in_datasets, select(func.sum(sizes.c.size)))
        return sum(int(self._connection.scalar(query) or 0) for query in sums)

    def missing_bytes(self, wanted: Collection[Image]) -> int:
        """Return the bytes of those images that no dataset and no sample holds, each once.

        Samples of releases that counted none are not counted, so they hold nothing either.
        """
        sizes = {image.pixels: image.size for image in wanted}
        kept = select(trial_samples.c.pixels).where(trial_samples.c.size > 0)
        for chunk in chunks(list(sizes)):
            for rows, column in (
                (select(dataset_images.c.pixels), dataset_images.c.pixels),
                (kept, trial_samples.c.pixels),
            ):
                held = rows.where(column.in_(chunk)).distinct()
                for pixels in self._connection.scalars(held):
                    sizes.pop(pixels, None)
        return sum(sizes.values())

    def images(self, dataset: DatasetId) -> Sequence[DatasetImage]:
        """Return all images by pixels, one row per text."""
        return [to_image(row) for row in self._connection.execute(images_of(dataset))]

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
        query = images_of(dataset).where(
            dataset_images.c.pixels.in_(select(keys.subquery().c.pixels))
        )
        return [to_image(row) for row in self._connection.execute(query)]

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
        query = select(datasets.c.kind, datasets.c.revision).where(datasets.c.id == dataset)
        row = self._connection.execute(query).first()
        if row is None:
            raise DatasetNotFound(dataset=dataset)
        count = partial(self._count, dataset, DatasetKind(row.kind))
        return self._counts.counts(dataset, row.revision, count)

    def _count(self, dataset: DatasetId, kind: DatasetKind) -> Mapping[str, int]:
        held = dataset_images.c.dataset == dataset
        if kind is DatasetKind.CAPTIONED:
            query = select(func.count(dataset_images.c.pixels.distinct())).where(held)
            return {"": self._connection.scalar(query) or 0}
        text = dataset_images.c.text
        counts = (
            select(text, func.count().label("images")).where(held).group_by(text).order_by(text)
        )
        return {row.text: row.images for row in self._connection.execute(counts)}
