"""Rows of thumbnails, by which near-duplicates are found, and of what places their groups."""

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Self

import sqlalchemy as sa

from core.database.statements import chunks, insert_missing, rows_with
from core.database.tables import (
    HAS_THUMBNAIL,
    dataset_images,
    erased_images,
    images,
    placed_groups,
    split_key,
    thumbnails,
)
from core.database.work import Rows, Work
from core.datasets.image_lists import ImageWithThumbnail
from core.datasets.manifests import Side, Split
from core.datasets.similarity import ThumbnailIndex
from core.platform import Platform
from core.values import DatasetId, Digest

# A process's cache of the images that uploads are compared with.
#
# A search reads only the images added since the last one. That is sound because thumbnails appear
# in the order of their positions, as a writer holds `Thumbnails.lock` until it has committed, and
# are removed by erasures alone, after which the cache starts again.

_NONE = ThumbnailIndex()
PAGE = 10_000  # thumbnails that are read at once


class ThumbnailCache:
    """The cache for one database; safe to share between threads. Read-only transactions fill it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._index = _NONE
        self._erased = 0  # images, when the index was read

    def index(self, after: Callable[[int], ThumbnailIndex], *, erased: int) -> ThumbnailIndex:
        """Return the index of all images; `after` reads those added after a position.

        `erased` is how many images have been erased so far.
        """
        with self._lock:
            if erased != self._erased:
                self._index, self._erased = _NONE, erased
            self._index = self._index.followed_by(after(self._index.position))
            return self._index


class Thumbnails(Rows):
    """Rows of thumbnails, by which near-duplicates are found."""

    @classmethod
    def open(cls, work: Work) -> Self:
        """Return the rows in a transaction."""
        return cls(work.connection, work.cache(ThumbnailCache))

    def __init__(self, connection: sa.Connection, cache: ThumbnailCache) -> None:
        self._connection = connection
        self._cache = cache

    def all(self) -> ThumbnailIndex:
        """Return the index of all images; later calls read only images added since.

        Once images were erased, all others are read again.
        """
        erased = self._connection.scalar(sa.select(sa.func.count()).select_from(erased_images)) or 0
        return self._cache.index(self.after, erased=erased)

    def after(self, position: int) -> ThumbnailIndex:
        """Return the index of the images added after a position; 0 for all."""
        group = sa.func.coalesce(thumbnails.c.near_duplicate_of, thumbnails.c.pixels)
        query = (
            sa.select(thumbnails.c.position, group, thumbnails.c.thumbnail)
            .where(thumbnails.c.position > sa.bindparam("after"), HAS_THUMBNAIL)
            .order_by(thumbnails.c.position)
            .limit(PAGE)
        )

        def pages() -> Iterator[Sequence[tuple[int, str, str]]]:
            last = position
            while rows := self._connection.execute(query, {"after": last}).all():
                yield [tuple(row) for row in rows]
                last = rows[-1].position

        return ThumbnailIndex.of(pages(), position=position)

    def lock(self) -> None:
        """Keep other transactions from adding thumbnails until this one ends."""
        if self._connection.dialect.name == "postgresql":  # SQLite has one writer at a time
            self._connection.execute(sa.text("LOCK TABLE thumbnails IN SHARE ROW EXCLUSIVE MODE"))

    def originals(self, pixels: Collection[Digest]) -> Mapping[Digest, Digest | None]:
        """Map each known image to the oldest image of its group, or to None if it is the oldest."""
        query = sa.select(images.c.pixels, thumbnails.c.near_duplicate_of).outerjoin(
            thumbnails, thumbnails.c.pixels == images.c.pixels
        )
        found = rows_with(self._connection, query, images.c.pixels, pixels)
        return {row.pixels: row.near_duplicate_of for row in found}

    def add(self, seen: Sequence[ImageWithThumbnail]) -> None:
        """Store thumbnails; an image that has one keeps it."""
        values = (
            {
                "pixels": image.pixels,
                "thumbnail": thumbnail,
                "near_duplicate_of": image.near_duplicate_of,
            }
            for image, thumbnail in seen
        )
        insert_missing(self._connection, thumbnails, values)


class PlacedGroups(Rows):
    """Rows of the groups that have their side for ever. Whoever adds some has locked thumbnails."""

    def sides(self, groups: Collection[Digest]) -> dict[Digest, Side]:
        """Return the sides of those of some groups that have one."""
        found = rows_with(
            self._connection, sa.select(placed_groups), placed_groups.c.oldest, groups
        )
        return {row.oldest: Side(row.side) for row in found}

    def sides_in(self, dataset: DatasetId) -> dict[Digest, Side]:
        """Return the sides of those groups of a dataset's present images that have one."""
        group = sa.func.coalesce(thumbnails.c.near_duplicate_of, dataset_images.c.pixels)
        query = (
            sa.select(placed_groups)
            .select_from(dataset_images)
            .outerjoin(thumbnails, thumbnails.c.pixels == dataset_images.c.pixels)
            .join(placed_groups, placed_groups.c.oldest == group)
            .where(dataset_images.c.dataset == dataset)
        )
        return {row.oldest: Side(row.side) for row in self._connection.execute(query)}

    def add(self, sides: Mapping[Digest, Side]) -> None:
        """Store the sides of groups; one that has a side keeps it."""
        values = [{"oldest": group, "side": sides[group]} for group in sorted(sides)]
        insert_missing(self._connection, placed_groups, values)


class Splits(Rows):
    """The row of the installation's split."""

    def get(self) -> Split:
        """Return the split, which `ensure_split` has stored."""
        return Split(key=self._connection.scalars(sa.select(split_key.c.key)).one())

    def add(self, split: Split) -> None:
        """Store the split; one that is there stays."""
        insert_missing(self._connection, split_key, [{"id": 1, "key": split.key}])


def ensure_split(platform: Platform) -> None:
    """Make sure that there is a split, by a new secret unless the settings pin it to digests."""
    secret = "" if platform.settings.split == "digest" else secrets.token_hex(32)
    with platform.transactions() as work:
        work[Splits].add(Split(key=secret))
        work.commit()


def groups_in(
    connection: sa.Connection, column: sa.Column[Any], groups: Collection[Digest], *conditions: Any
) -> set[Digest]:
    """Return the groups of which `column`, a column of pixel digests, holds an image."""
    rows = thumbnails.join(column.table, column == thumbnails.c.pixels)
    group = thumbnails.c.near_duplicate_of
    found: set[Digest] = set()
    for chunk in chunks(groups):
        # Two selects, each with its own index: with an OR, databases would scan the table.
        oldest = sa.select(column).where(column.in_(chunk), *conditions)
        others = sa.select(group).select_from(rows).where(group.in_(chunk), *conditions)
        found.update(connection.scalars(sa.union(oldest, others)))
    return found
