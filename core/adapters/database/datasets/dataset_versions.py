"""Frozen versions of datasets, and the images that they train on."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select

from core.adapters.database.datasets.thumbnails import groups_in
from core.adapters.database.jobs.rows import UNFINISHED
from core.adapters.database.statements import insert_missing
from core.adapters.database.tables.datasets import dataset_versions, trained_images
from core.adapters.database.tables.jobs import jobs
from core.adapters.database.tables.models import versions
from core.domain.datasets.dataset import DatasetVersion
from core.domain.datasets.manifest import Manifest
from core.domain.datasets.split import Side
from core.domain.jobs.order import JobType
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
        where = {"dataset": version.dataset, "number": version.number}
        trained = [{"pixels": entry.pixels, **where} for entry in manifest.on(Side.TRAIN)]
        insert_missing(self._connection, trained_images, trained)

    def get(self, dataset: DatasetId, number: int) -> DatasetVersion:
        """Return a version. Raises DatasetVersionNotFound."""
        row = self._connection.execute(
            select(dataset_versions).where(
                dataset_versions.c.dataset == dataset, dataset_versions.c.number == number
            )
        ).first()
        if row is None:
            raise DatasetVersionNotFound(dataset=dataset, version=number)
        return _to_version(row)

    def all(self, dataset: DatasetId) -> Sequence[DatasetVersion]:
        """Return all versions of a dataset, oldest first."""
        query = (
            select(dataset_versions)
            .where(dataset_versions.c.dataset == dataset)
            .order_by(dataset_versions.c.number)
        )
        return [_to_version(row) for row in self._connection.execute(query)]

    def trained(self, groups: Collection[Digest], except_for: DatasetId) -> set[Digest]:
        """Return the groups that are on the training side of another dataset's versions.

        Versions of the dataset `except_for` count too once an update has trained on it, or an
        unfinished job will; distilling its images as a reference set counts as training.
        """
        others = [] if self._is_trained_on(except_for) else [trained_images.c.dataset != except_for]
        return groups_in(self._connection, trained_images.c.pixels, groups, *others)

    def _is_trained_on(self, dataset: DatasetId) -> bool:
        has_trained = select(versions.c.number).where(
            or_(
                versions.c.dataset == dataset,
                versions.c.reference["dataset"].as_string() == dataset,
            )
        )
        will_train = select(jobs.c.position).where(
            jobs.c.type == JobType.UPDATE,
            jobs.c.status.in_(UNFINISHED),
            or_(
                jobs.c.order["dataset"].as_string() == dataset,
                jobs.c.order[("reference", "dataset")].as_string() == dataset,
            ),
        )
        query = select(or_(has_trained.exists(), will_train.exists()))
        return bool(self._connection.scalar(query))


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
    )
