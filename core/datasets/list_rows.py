"""Rows of the images in datasets, as they are read."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from threading import Lock
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from core.database.statements import chunks, rows_with
from core.database.tables import (
    HAS_THUMBNAIL,
    dataset_images,
    datasets,
    images,
    thumbnails,
    trial_samples,
)
from core.database.work import Rows
from core.datasets.image_lists import NearDuplicates
from core.datasets.manifests import Member
from core.datasets.rules import DatasetImage, DatasetKind, Image
from core.errors import DatasetNotFound
from core.values import DatasetId, Digest

# A process's cache of how many images each class of a dataset has.
#
# A count reads an entry of an index for each image. It is kept with the dataset's revision, which
# grows in every transaction that changes its images: so it is made once after each change.

DATASETS = 50  # that are kept, those asked for last


class CountCache:
    """The cache for one database; safe to share between threads. Read-only transactions fill it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[DatasetId, tuple[int, Mapping[str, int]]] = OrderedDict()

    def counts(
        self, dataset: DatasetId, revision: int, count: Callable[[], Mapping[str, int]]
    ) -> Mapping[str, int]:
        """Return the counts at a revision, calling `count` unless they are kept."""
        with self._lock:
            known, counts = self._kept.get(dataset, (None, {}))
        if known != revision:
            counts = MappingProxyType(count())
        with self._lock:
            self._kept[dataset] = (revision, counts)
            self._kept.move_to_end(dataset)
            while len(self._kept) > DATASETS:
                self._kept.popitem(last=False)
        return counts


# The images, and the near-duplicates among them.


def images_of(dataset: DatasetId) -> sa.Select[Any]:
    """Return the query of the images in a dataset, once for each text, by pixels and text."""
    rows = dataset_images
    return (
        sa.select(
            images,
            thumbnails.c.near_duplicate_of,
            *(rows.c.dataset, rows.c.text, rows.c.file_label, rows.c.added_at),
        )
        .join(rows, rows.c.pixels == images.c.pixels)
        .outerjoin(thumbnails, thumbnails.c.pixels == images.c.pixels)
        .where(rows.c.dataset == dataset)
        .order_by(rows.c.pixels, rows.c.text)
    )


def to_image(row: sa.Row[Any]) -> DatasetImage:
    """Return an image in a dataset."""
    return DatasetImage(
        dataset=row.dataset,
        image=Image(
            pixels=row.pixels,
            artifact=row.artifact,
            width=row.width,
            height=row.height,
            size=row.size,
            near_duplicate_of=row.near_duplicate_of,
        ),
        text=row.text,
        file_label=row.file_label,
        added_at=row.added_at,
    )


SHOWN = 100  # images of one group


class NearDuplicateRows(Rows):
    """The part of `Datasets` that reads near-duplicates."""

    def near_duplicate_page(
        self, dataset: DatasetId, limit: int, after: Digest | None
    ) -> Sequence[NearDuplicates]:
        """Return up to `limit` groups of near-duplicates, each with its first images, by pixels.

        A group is of images that the dataset holds, at least two; the oldest may be elsewhere.
        """
        found = self._groups(dataset, limit, after)
        oldest = thumbnails.c.near_duplicate_of
        group = sa.func.coalesce(oldest, thumbnails.c.pixels)
        of_groups = (
            sa.select(thumbnails.c.pixels, group.label("found"))
            .where(sa.or_(oldest.in_(found), thumbnails.c.pixels.in_(found)), _holds(dataset))
            .order_by(thumbnails.c.pixels)
        )
        members: dict[Digest, list[Digest]] = {one: [] for one in found}
        for row in self._connection.execute(of_groups):
            members[row.found].append(row.pixels)
        rows: dict[Digest, list[DatasetImage]] = {one: [] for one in found}
        shown = [one for held in members.values() for one in held[:SHOWN]]
        column, query = dataset_images.c.pixels, images_of(dataset)
        for image in map(to_image, rows_with(self._connection, query, column, shown)):
            rows[image.image.group].append(image)
        return [NearDuplicates(group=one, count=len(members[one]), rows=rows[one]) for one in found]

    def _groups(self, dataset: DatasetId, limit: int, after: Digest | None) -> Sequence[Digest]:
        """Return groups of near-duplicates of which a dataset holds at least two images.

        Of two images of a group, one is not its oldest: only those that are not are read.
        """
        oldest = thumbnails.c.near_duplicate_of
        groups = (
            sa.select(oldest.label("found")).where(oldest > (after or "")).distinct().subquery()
        )
        younger = (
            sa.select(sa.func.count())
            .select_from(thumbnails)
            .where(oldest == groups.c.found, _holds(dataset))
            .scalar_subquery()
        )
        first = sa.select(sa.func.count(dataset_images.c.pixels.distinct())).where(
            dataset_images.c.dataset == dataset, dataset_images.c.pixels == groups.c.found
        )
        query = (
            sa.select(groups.c.found)
            .where(younger + first.scalar_subquery() > 1)
            .order_by(groups.c.found)
            .limit(limit)
        )
        return list(self._connection.scalars(query))

    def near_duplicates(self, pixels: Collection[Digest]) -> set[Digest]:
        """Return the other images of some images' groups."""
        group = sa.func.coalesce(thumbnails.c.near_duplicate_of, thumbnails.c.pixels)
        found: set[Digest] = set()
        for chunk in chunks(pixels):
            groups = sa.select(group).where(thumbnails.c.pixels.in_(chunk))
            members = sa.select(thumbnails.c.pixels).where(
                sa.or_(thumbnails.c.pixels.in_(groups), thumbnails.c.near_duplicate_of.in_(groups)),
                HAS_THUMBNAIL,
            )
            found.update(self._connection.scalars(members))
        return found - set(pixels)


def _holds(dataset: DatasetId) -> sa.ColumnElement[bool]:
    """Return the condition that the dataset holds the image of a thumbnail."""
    rows = dataset_images.c
    return sa.exists().where(rows.dataset == dataset, rows.pixels == thumbnails.c.pixels)


class ImageListRows(NearDuplicateRows):
    """The part of `Datasets` that reads images."""

    def __init__(self, connection: sa.Connection, counts: CountCache) -> None:
        super().__init__(connection)
        self._counts = counts

    def texts(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[Digest, Sequence[str]]:
        """Return the images' texts in the dataset, without images that it does not hold."""
        rows = dataset_images.c
        query = sa.select(rows.pixels, rows.text).where(rows.dataset == dataset)
        found: dict[Digest, list[str]] = {}
        for row in rows_with(self._connection, query.order_by(rows.text), rows.pixels, pixels):
            found.setdefault(row.pixels, []).append(row.text)
        return found

    def added_at(
        self, dataset: DatasetId, pixels: Collection[Digest]
    ) -> Mapping[tuple[Digest, str], datetime]:
        """Return when images came into the dataset with each of their texts."""
        rows = dataset_images.c
        query = sa.select(rows.pixels, rows.text, rows.added_at).where(rows.dataset == dataset)
        found = rows_with(self._connection, query, rows.pixels, pixels)
        return {(row.pixels, row.text): row.added_at for row in found}

    def stored_bytes(self) -> int:
        """Return the bytes of the images in datasets and of samples, each image counted once."""
        held = sa.exists().where(dataset_images.c.pixels == images.c.pixels)
        in_datasets = sa.select(sa.func.sum(images.c.size)).where(held)
        own = ~sa.exists().where(dataset_images.c.pixels == trial_samples.c.pixels)
        kept = sa.select(sa.func.max(trial_samples.c.size).label("size")).where(own)
        sizes = kept.group_by(trial_samples.c.pixels).subquery()
        sums = (in_datasets, sa.select(sa.func.sum(sizes.c.size)))
        return sum(int(self._connection.scalar(query) or 0) for query in sums)

    def missing_bytes(self, wanted: Collection[Image]) -> int:
        """Return the bytes of those images that no dataset and no sample holds, each once.

        Samples of releases that counted none are not counted, so they hold nothing either.
        """
        sizes = {image.pixels: image.size for image in wanted}
        in_datasets = sa.select(dataset_images.c.pixels).distinct()
        kept = sa.select(trial_samples.c.pixels).where(trial_samples.c.size > 0).distinct()
        for query, table in ((in_datasets, dataset_images), (kept, trial_samples)):
            for row in rows_with(self._connection, query, table.c.pixels, list(sizes)):
                sizes.pop(row.pixels, None)
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
            sa.select(dataset_images.c.pixels)
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
            dataset_images.c.pixels.in_(sa.select(keys.subquery().c.pixels))
        )
        return [to_image(row) for row in self._connection.execute(query)]

    def members(self, dataset: DatasetId) -> Iterator[Member]:
        """Yield every image of a dataset, once for each of its texts, by pixels."""
        rows = dataset_images
        group = sa.func.coalesce(thumbnails.c.near_duplicate_of, rows.c.pixels)
        query = (
            sa.select(rows.c.pixels, group, rows.c.text)
            .outerjoin(thumbnails, thumbnails.c.pixels == rows.c.pixels)
            .where(rows.c.dataset == dataset)
            .order_by(rows.c.pixels, rows.c.text)
        )
        yield from self._connection.execute(query)

    def stored(self, pixels: Digest) -> Image | None:
        """Return an image of any dataset, by its pixels."""
        query = (
            sa.select(images, thumbnails.c.near_duplicate_of)
            .outerjoin(thumbnails, thumbnails.c.pixels == images.c.pixels)
            .where(images.c.pixels == pixels)
        )
        row = self._connection.execute(query).first()
        return Image(**row._mapping) if row is not None else None

    def count(self, dataset: DatasetId) -> Mapping[str, int]:
        """Return the number of images per class (without labels: {"": images})."""
        query = sa.select(datasets.c.kind, datasets.c.revision).where(datasets.c.id == dataset)
        row = self._connection.execute(query).first()
        if row is None:
            raise DatasetNotFound(dataset=dataset)
        count = partial(self._count, dataset, DatasetKind(row.kind))
        return self._counts.counts(dataset, row.revision, count)

    def _count(self, dataset: DatasetId, kind: DatasetKind) -> Mapping[str, int]:
        held = dataset_images.c.dataset == dataset
        if kind is not DatasetKind.LABELLED:
            query = sa.select(sa.func.count(dataset_images.c.pixels.distinct())).where(held)
            return {"": self._connection.scalar(query) or 0}
        text = dataset_images.c.text
        counts = (
            sa.select(text, sa.func.count().label("images"))
            .where(held)
            .group_by(text)
            .order_by(text)
        )
        return {row.text: row.images for row in self._connection.execute(counts)}
