"""Rows of vectors, and of reports on old indexes."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, select

from core.artifacts.store import ArtifactKind
from core.database.statements import upsert
from core.database.tables import index_reports, vectors
from core.database.work import Rows
from core.datasets.rules import DatasetRef
from core.errors import IndexReportNotFound, VectorsNotFound
from core.values import Digest, ModelId
from core.vectors.rules import IndexReport
from core.vectors.stored import StoredVectors


class Vectors(Rows):
    """Rows of the vectors of dataset versions."""

    def put(self, stored: StoredVectors) -> None:
        """Store vectors in the place of those of the same images, if there are any."""
        upsert(self._connection, vectors, vars(stored))

    def get(self, model: ModelId, version: int, dataset: DatasetRef) -> StoredVectors:
        """Return the vectors of a dataset version. Raises VectorsNotFound."""
        row = self._connection.execute(select(vectors).where(_is(model, version, dataset))).first()
        if row is None:
            raise _not_found(version, dataset)
        return _to_vectors(row)

    def all(self, model: ModelId, version: int) -> Sequence[StoredVectors]:
        """Return the vectors by a version, by dataset and dataset version."""
        query = select(vectors).where(vectors.c.model == model, vectors.c.version == version)
        rows = self._connection.execute(
            query.order_by(vectors.c.dataset, vectors.c.dataset_version)
        )
        return [_to_vectors(row) for row in rows]

    def remove(self, model: ModelId, version: int, dataset: DatasetRef) -> None:
        """Delete vectors, whose bytes may be collected. Raises VectorsNotFound."""
        gone = delete(vectors).where(_is(model, version, dataset))
        if self._connection.execute(gone).rowcount == 0:
            raise _not_found(version, dataset)

    def remove_of(self, datasets: Collection[DatasetRef]) -> set[Digest]:
        """Delete the vectors of dataset versions by any version; return their files."""
        files: set[Digest] = set()
        for dataset in datasets:
            theirs = _of(dataset)
            query = select(vectors.c.artifact, vectors.c.images).where(theirs)
            files |= {file for row in self._connection.execute(query) for file in row}
            self._connection.execute(delete(vectors).where(theirs))
        return files


class IndexReports(Rows):
    """Rows of reports on old indexes."""

    def put(self, report: IndexReport) -> None:
        """Store a report in the place of the one about the same baseline, if there is one."""
        upsert(self._connection, index_reports, vars(report))

    def get(self, model: ModelId, version: int, baseline: int) -> IndexReport:
        """Return the report about a baseline. Raises IndexReportNotFound."""
        query = select(index_reports).where(_is_report(model, version, baseline))
        row = self._connection.execute(query).first()
        if row is None:
            raise IndexReportNotFound(version=version, baseline=baseline)
        return _to_report(row)

    def all(self, model: ModelId, version: int) -> Sequence[IndexReport]:
        """Return the reports of a version, by baseline."""
        query = select(index_reports).where(
            index_reports.c.model == model, index_reports.c.version == version
        )
        rows = self._connection.execute(query.order_by(index_reports.c.baseline))
        return [_to_report(row) for row in rows]

    def remove_of(self, sources: Collection[str]) -> set[Digest]:
        """Delete the reports that are based on any of some sources; return their files.

        A source is the id of a suite, or a dataset version: see `source_of`.
        """
        rows = map(_to_report, self._connection.execute(select(index_reports)))
        found = [report for report in rows if not set(sources).isdisjoint(report.sources)]
        for report in found:
            gone = _is_report(report.model, report.version, report.baseline)
            self._connection.execute(delete(index_reports).where(gone))
        return {file for report in found for file in (report.bridge, report.report)}


def artifacts_of_vectors(connection: Connection, kind: ArtifactKind) -> set[Digest]:
    """Return the artifacts of a kind that vectors and reports name."""
    columns = {
        ArtifactKind.REPORT: (index_reports.c.report,),
        ArtifactKind.VECTORS: (vectors.c.artifact, vectors.c.images, index_reports.c.bridge),
    }
    named = (connection.scalars(select(column)) for column in columns.get(kind, ()))
    return {digest for digests in named for digest in digests}


def delete_vectors_of(connection: Connection, model: ModelId, version: int | None = None) -> None:
    """Delete the vectors and reports of a locked version, or of all versions of a model."""
    for table in (vectors, index_reports):
        theirs = delete(table).where(table.c.model == model)
        connection.execute(theirs if version is None else theirs.where(table.c.version == version))


def _is(model: ModelId, version: int, dataset: DatasetRef) -> ColumnElement[bool]:
    return (vectors.c.model == model) & (vectors.c.version == version) & _of(dataset)


def _of(dataset: DatasetRef) -> ColumnElement[bool]:
    return (vectors.c.dataset == dataset.dataset) & (vectors.c.dataset_version == dataset.version)


def _not_found(version: int, dataset: DatasetRef) -> VectorsNotFound:
    name, number = dataset.dataset, dataset.version
    return VectorsNotFound(version=version, dataset=name, dataset_version=number)


def _is_report(model: ModelId, version: int, baseline: int) -> ColumnElement[bool]:
    rows = index_reports.c
    return (rows.model == model) & (rows.version == version) & (rows.baseline == baseline)


def _to_vectors(row: Row[Any]) -> StoredVectors:
    return StoredVectors(**row._mapping)


def _to_report(row: Row[Any]) -> IndexReport:
    return IndexReport(**{**row._mapping, "sources": tuple(row.sources)})
