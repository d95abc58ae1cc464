"""Datasets."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from core.adapters.database.datasets.count_cache import CountCache
from core.adapters.database.datasets.dataset_images import SqlDatasetImages
from core.adapters.database.datasets.dataset_versions import SqlDatasetVersions
from core.adapters.database.datasets.version_uses import uses_of
from core.adapters.database.statements import (
    find_named,
    insert_new,
    page_by_id,
)
from core.adapters.database.tables.datasets import datasets
from core.domain.datasets.dataset import Dataset, DatasetKind, DatasetVersion
from core.domain.datasets.manifest import Manifest
from core.domain.values import DatasetId, Digest
from core.errors import DatasetNotFound, NameTaken
from core.ports import DatasetUses


class SqlDatasets(SqlDatasetImages):
    """The `Datasets` port over SQL."""

    def __init__(self, connection: Connection, counts: CountCache) -> None:
        super().__init__(connection, counts)
        self._versions = SqlDatasetVersions(connection)

    def add(self, dataset: Dataset) -> None:
        """Store a dataset. Raises NameTaken."""
        values = {**vars(dataset), "metadata": dict(dataset.metadata), "last_version": 0}
        if not insert_new(self._connection, datasets, values):
            raise NameTaken(name=dataset.name)

    def get(self, reference: str, *, lock: bool = False) -> Dataset:
        """Return a dataset by id or name; `lock` keeps others from changing it until commit.

        Raises DatasetNotFound.
        """
        row = find_named(self._connection, datasets, reference, lock=lock)
        if row is None:
            raise DatasetNotFound(dataset=reference)
        return _to_dataset(row)

    def page(self, limit: int, after: str | None) -> Sequence[Dataset]:
        """Return a page of datasets, oldest first; `after` is the last id of the previous page."""
        return [_to_dataset(row) for row in page_by_id(self._connection, datasets, limit, after)]

    def remove(self, dataset: DatasetId) -> None:
        """Delete a dataset with its images and its versions. Raises DatasetNotFound."""
        self._versions.remove_all(dataset)
        gone = self._connection.execute(delete(datasets).where(datasets.c.id == dataset))
        if gone.rowcount == 0:
            raise DatasetNotFound(dataset=dataset)

    def describe(
        self, dataset: DatasetId, *, description: str | None, metadata: Mapping[str, str] | None
    ) -> None:
        """Replace the description and the metadata of a dataset; None leaves one as it is."""
        given = {"description": description, "metadata": None if metadata is None else {**metadata}}
        values = {name: value for name, value in given.items() if value is not None}
        if values:
            described = update(datasets).where(datasets.c.id == dataset)
            self._connection.execute(described.values(values))

    def count_duplicates(self, dataset: DatasetId, count: int) -> None:
        """Add to the number of files that were sent again."""
        added = datasets.c.duplicates + count
        self._connection.execute(
            update(datasets).where(datasets.c.id == dataset).values(duplicates=added)
        )

    def lock(self, dataset: DatasetId) -> Sequence[DatasetVersion]:
        """Return all versions, once nobody keeps one, and keep others from changing the dataset.

        Raises DatasetNotFound.
        """
        query = select(datasets.c.id).where(datasets.c.id == dataset).with_for_update()
        if self._connection.scalar(query) is None:
            raise DatasetNotFound(dataset=dataset)
        return self._versions.all(dataset, lock=True)

    def uses(self, dataset: DatasetId, number: int | None = None) -> DatasetUses:
        """Return what needs a version, or any version of the dataset."""
        return uses_of(self._connection, dataset, number)

    def remove_version(
        self, version: DatasetVersion, later: Iterable[tuple[DatasetVersion, Manifest]]
    ) -> None:
        """Delete a locked version, given those that were frozen after it, oldest first."""
        self._versions.remove(version, later)

    def revision(self, dataset: DatasetId) -> int:
        """Return a number that grows whenever the dataset's contents, or an image in it, change."""
        query = select(datasets.c.revision).where(datasets.c.id == dataset)
        return int(self._connection.scalar(query) or 0)

    def next_version(self, dataset: DatasetId) -> int:
        """Return the next version number, from a counter row locked until commit."""
        number = self._connection.scalar(
            update(datasets)
            .where(datasets.c.id == dataset)
            .values(last_version=datasets.c.last_version + 1)
            .returning(datasets.c.last_version)
        )
        if number is None:
            raise DatasetNotFound(dataset=dataset)
        return int(number)

    def add_version(self, version: DatasetVersion, manifest: Manifest) -> None:
        """Store a frozen version and the images that it trains on."""
        self._versions.add(version, manifest)

    def replace_version(self, dataset: DatasetId, number: int, by: int) -> None:
        """Record the version that a locked one is replaced by."""
        self._versions.replace(dataset, number, by)

    def version(self, dataset: DatasetId, number: int, *, keep: bool = False) -> DatasetVersion:
        """Return a version; `keep` keeps others from deleting it. Raises DatasetVersionNotFound."""
        return self._versions.get(dataset, number, keep=keep)

    def versions(self, dataset: DatasetId) -> Sequence[DatasetVersion]:
        """Return all versions of a dataset, oldest first."""
        return self._versions.all(dataset)

    def newest_versions(
        self, datasets: Collection[DatasetId]
    ) -> Mapping[DatasetId, tuple[DatasetVersion, int]]:
        """Return the newest version of each dataset that has one, and how many it has."""
        return self._versions.newest(datasets)

    def trained_groups(self, groups: Collection[Digest], *, except_for: DatasetId) -> set[Digest]:
        """Return the groups that are on the training side of another dataset's versions.

        Versions of the dataset `except_for` count too once an update has trained on it, or an
        unfinished job will; distilling its images as a reference set counts as training.
        """
        return self._versions.trained(groups, except_for)


def _to_dataset(row: Row[Any]) -> Dataset:
    return Dataset(
        id=row.id,
        name=row.name,
        kind=DatasetKind(row.kind),
        created_at=row.created_at,
        description=row.description,
        metadata=row.metadata,
        duplicates=row.duplicates,
    )
