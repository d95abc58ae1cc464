"""Datasets."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.exc import IntegrityError

from core.adapters.database.datasets.dataset_images import SqlDatasetImages
from core.adapters.database.datasets.dataset_versions import SqlDatasetVersions
from core.adapters.database.statements import (
    find_named,
    insert_new,
    page_by_id,
)
from core.adapters.database.tables.datasets import datasets
from core.domain.datasets.dataset import Dataset, DatasetKind, DatasetVersion
from core.domain.datasets.manifest import Manifest
from core.domain.values import DatasetId, Digest
from core.errors import DatasetNotFound, InUse, NameTaken


class SqlDatasets(SqlDatasetImages):
    """The `Datasets` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._versions = SqlDatasetVersions(connection)

    def add(self, dataset: Dataset) -> None:
        """Store a dataset. Raises NameTaken."""
        values = {**vars(dataset), "last_version": 0}
        if not insert_new(self._connection, datasets, values):
            raise NameTaken(name=dataset.name)

    def get(self, reference: str) -> Dataset:
        """Return a dataset by id or name. Raises DatasetNotFound."""
        row = find_named(self._connection, datasets, reference)
        if row is None:
            raise DatasetNotFound(dataset=reference)
        return _to_dataset(row)

    def page(self, limit: int, after: str | None) -> Sequence[Dataset]:
        """Return a page of datasets, oldest first; `after` is the last id of the previous page."""
        return [_to_dataset(row) for row in page_by_id(self._connection, datasets, limit, after)]

    def remove(self, dataset: DatasetId) -> None:
        """Delete a dataset. Raises DatasetNotFound, and InUse when it has versions."""
        try:
            gone = self._connection.execute(delete(datasets).where(datasets.c.id == dataset))
        except IntegrityError as error:
            raise InUse(dataset=dataset) from error
        if gone.rowcount == 0:
            raise DatasetNotFound(dataset=dataset)

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

    def version(self, dataset: DatasetId, number: int) -> DatasetVersion:
        """Return a version. Raises DatasetVersionNotFound."""
        return self._versions.get(dataset, number)

    def versions(self, dataset: DatasetId) -> Sequence[DatasetVersion]:
        """Return all versions of a dataset, oldest first."""
        return self._versions.all(dataset)

    def trained_groups(self, groups: Collection[Digest], *, except_for: DatasetId) -> set[Digest]:
        """Return the groups that are on the training side of another dataset's versions.

        Versions of the dataset `except_for` count too once an update has trained on it, or an
        unfinished job will; distilling its images as a reference set counts as training.
        """
        return self._versions.trained(groups, except_for)


def _to_dataset(row: Row[Any]) -> Dataset:
    return Dataset(id=row.id, name=row.name, kind=DatasetKind(row.kind), created_at=row.created_at)
