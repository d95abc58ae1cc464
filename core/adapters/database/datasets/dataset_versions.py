"""Frozen versions of datasets, and the images that they train on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from core.adapters.database.datasets.thumbnails import groups_in
from core.adapters.database.datasets.version_uses import is_trained_on
from core.adapters.database.statements import insert_missing
from core.adapters.database.tables.datasets import dataset_versions, trained_images
from core.adapters.database.tables.vectors import vectors
from core.domain.datasets.dataset import DatasetVersion
from core.domain.datasets.manifest import Manifest
from core.domain.datasets.split import Side
from core.domain.values import DatasetId, Digest
from core.errors import DatasetVersionNotFound


class SqlDatasetVersions:
    """The part of the `Datasets` port that concerns versions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, version: DatasetVersion, manifest: Manifest) -> None:
        """Store a frozen version and the images that it trains on."""
        values = {
            **vars(version),
            "classes": list(version.classes),
            "counts": {name: dict(sides) for name, sides in version.counts.items()},
        }
        self._connection.execute(insert(dataset_versions).values(values))
        self._note_trained(version, (entry.pixels for entry in manifest.on(Side.TRAIN)))

    def get(self, dataset: DatasetId, number: int, *, keep: bool = False) -> DatasetVersion:
        """Return a version; `keep` keeps others from deleting it. Raises DatasetVersionNotFound."""
        query = select(dataset_versions).where(
            dataset_versions.c.dataset == dataset, dataset_versions.c.number == number
        )
        if keep:  # SQLite's write transactions take turns anyway
            query = query.with_for_update(read=True, key_share=True)
        row = self._connection.execute(query).first()
        if row is None:
            raise DatasetVersionNotFound(dataset=dataset, version=number)
        return _to_version(row)

    def all(self, dataset: DatasetId, *, lock: bool = False) -> Sequence[DatasetVersion]:
        """Return all versions of a dataset, oldest first; `lock` waits for those who keep one."""
        query = (
            select(dataset_versions)
            .where(dataset_versions.c.dataset == dataset)
            .order_by(dataset_versions.c.number)
        )
        if lock:
            query = query.with_for_update()
        return [_to_version(row) for row in self._connection.execute(query)]

    def newest(
        self, datasets: Collection[DatasetId]
    ) -> Mapping[DatasetId, tuple[DatasetVersion, int]]:
        """Return the newest version of each dataset that has one, and how many it has."""
        rows = dataset_versions
        last = (
            select(rows.c.dataset, func.max(rows.c.number).label("number"), func.count().label("n"))
            .where(rows.c.dataset.in_(datasets))
            .group_by(rows.c.dataset)
            .subquery()
        )
        same = (rows.c.dataset == last.c.dataset) & (rows.c.number == last.c.number)
        query = select(rows, last.c.n).join(last, same)
        return {
            row.dataset: (_to_version(row), int(row.n)) for row in self._connection.execute(query)
        }

    def replace(self, dataset: DatasetId, number: int, by: int) -> None:
        """Record the version that one is replaced by."""
        self._connection.execute(
            update(dataset_versions)
            .where(dataset_versions.c.dataset == dataset, dataset_versions.c.number == number)
            .values(replaced_by=by)
        )

    def remove(
        self, version: DatasetVersion, later: Iterable[tuple[DatasetVersion, Manifest]]
    ) -> None:
        """Delete a version and vectors of it.

        Images that it was the first to train on are noted of a later one.
        """
        theirs = (
            trained_images.c.dataset == version.dataset,
            trained_images.c.number == version.number,
        )
        left = set(self._connection.scalars(select(trained_images.c.pixels).where(*theirs)))
        self._connection.execute(delete(trained_images).where(*theirs))
        self._connection.execute(
            delete(vectors).where(
                vectors.c.dataset == version.dataset,
                vectors.c.dataset_version == version.number,
            )
        )
        self._connection.execute(
            delete(dataset_versions).where(
                dataset_versions.c.dataset == version.dataset,
                dataset_versions.c.number == version.number,
            )
        )
        for other, manifest in later if left else ():
            trained = left & {entry.pixels for entry in manifest.on(Side.TRAIN)}
            self._note_trained(other, trained)
            left -= trained
            if not left:
                break

    def remove_all(self, dataset: DatasetId) -> None:
        """Delete all versions of a dataset, and vectors of them."""
        for table in (vectors, trained_images, dataset_versions):
            self._connection.execute(delete(table).where(table.c.dataset == dataset))

    def _note_trained(self, version: DatasetVersion, pixels: Iterable[Digest]) -> None:
        where = {"dataset": version.dataset, "number": version.number}
        rows = [{"pixels": one, **where} for one in pixels]
        insert_missing(self._connection, trained_images, rows)

    def trained(self, groups: Collection[Digest], except_for: DatasetId) -> set[Digest]:
        """Return the groups that are on the training side of another dataset's versions.

        Versions of the dataset `except_for` count too once an update has trained on it, or an
        unfinished job will; distilling its images as a reference set counts as training.
        """
        others = [trained_images.c.dataset != except_for]
        if is_trained_on(self._connection, except_for):
            others = []
        return groups_in(self._connection, trained_images.c.pixels, groups, *others)


def _to_version(row: Row[Any]) -> DatasetVersion:
    return DatasetVersion(
        dataset=row.dataset,
        number=row.number,
        manifest=row.manifest,
        classes=tuple(row.classes),
        counts=row.counts,
        images=row.images,
        near_duplicates=row.near_duplicates,
        created_at=row.created_at,
        replaced_by=row.replaced_by,
    )
