"""Near-duplicates among the images of a dataset."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from core.adapters.database.datasets.image_rows import images_of, to_image
from core.adapters.database.statements import chunks
from core.adapters.database.tables.datasets import HAS_THUMBNAIL, dataset_images, thumbnails
from core.domain.datasets.dataset import DatasetImage
from core.domain.datasets.near_duplicates import NearDuplicates
from core.domain.values import DatasetId, Digest

SHOWN = 100  # images of one group


class SqlNearDuplicates:
    """The part of the `Datasets` port that reads near-duplicates."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def near_duplicate_page(
        self, dataset: DatasetId, limit: int, after: Digest | None
    ) -> Sequence[NearDuplicates]:
        """Return up to `limit` groups of near-duplicates, each with its first images, by pixels.

        A group is of images that the dataset holds, at least two; the oldest may be elsewhere.
        """
        found = self._groups(dataset, limit, after)
        oldest = thumbnails.c.near_duplicate_of
        group = func.coalesce(oldest, thumbnails.c.pixels)
        query = (
            select(thumbnails.c.pixels, group.label("found"))
            .where(or_(oldest.in_(found), thumbnails.c.pixels.in_(found)), _holds(dataset))
            .order_by(thumbnails.c.pixels)
        )
        members: dict[Digest, list[Digest]] = {one: [] for one in found}
        for row in self._connection.execute(query):
            members[row.found].append(row.pixels)
        rows: dict[Digest, list[DatasetImage]] = {one: [] for one in found}
        for chunk in chunks([one for held in members.values() for one in held[:SHOWN]]):
            shown = images_of(dataset).where(dataset_images.c.pixels.in_(chunk))
            for image in map(to_image, self._connection.execute(shown)):
                rows[image.image.group].append(image)
        return [NearDuplicates(group=one, count=len(members[one]), rows=rows[one]) for one in found]

    def _groups(self, dataset: DatasetId, limit: int, after: Digest | None) -> Sequence[Digest]:
        """Return groups of near-duplicates of which a dataset holds at least two images.

        Of two images of a group, one is not its oldest: only those that are not are read.
        """
        oldest = thumbnails.c.near_duplicate_of
        groups = select(oldest.label("found")).where(oldest > (after or "")).distinct().subquery()
        younger = (
            select(func.count())
            .select_from(thumbnails)
            .where(oldest == groups.c.found, _holds(dataset))
            .scalar_subquery()
        )
        first = select(func.count(dataset_images.c.pixels.distinct())).where(
            dataset_images.c.dataset == dataset, dataset_images.c.pixels == groups.c.found
        )
        query = (
            select(groups.c.found)
            .where(younger + first.scalar_subquery() > 1)
            .order_by(groups.c.found)
            .limit(limit)
        )
        return list(self._connection.scalars(query))

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


def _holds(dataset: DatasetId) -> ColumnElement[bool]:
    """Return the condition that the dataset holds the image of a thumbnail."""
    rows = dataset_images.c
    return exists().where(rows.dataset == dataset, rows.pixels == thumbnails.c.pixels)
