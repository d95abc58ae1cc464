"""Rows of exports."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, select

from core.artifacts.store import ArtifactKind
from core.database.statements import upsert
from core.database.tables import exports
from core.database.work import Rows
from core.errors import ExportNotFound
from core.registry.exports import Export, ExportFormat
from core.values import Digest, ModelId


class Exports(Rows):
    """Rows of exports of versions."""

    def put(self, export: Export) -> None:
        """Store an export in the place of the one in that format, if there is one."""
        upsert(self._connection, exports, vars(export))

    def get(self, model: ModelId, version: int, export_format: ExportFormat) -> Export:
        """Return an export. Raises ExportNotFound."""
        query = select(exports).where(_is(model, version, export_format))
        row = self._connection.execute(query).first()
        if row is None:
            raise ExportNotFound(version=version, format=export_format.value)
        return _to_export(row)

    def all(self, model: ModelId, version: int) -> Sequence[Export]:
        """Return the exports of a version, by format."""
        query = select(exports).where(exports.c.model == model, exports.c.version == version)
        rows = self._connection.execute(query.order_by(exports.c.format))
        return [_to_export(row) for row in rows]

    def remove(self, model: ModelId, version: int, export_format: ExportFormat) -> None:
        """Delete an export, whose bytes may be collected. Raises ExportNotFound."""
        gone = delete(exports).where(_is(model, version, export_format))
        if self._connection.execute(gone).rowcount == 0:
            raise ExportNotFound(version=version, format=export_format.value)


def artifacts_of_exports(connection: Connection, kind: ArtifactKind) -> set[Digest]:
    """Return the artifacts of a kind that exports name."""
    if kind is not ArtifactKind.EXPORT:
        return set()
    return set(connection.scalars(select(exports.c.artifact)))


def delete_exports_of(connection: Connection, model: ModelId, version: int | None = None) -> None:
    """Delete the exports of a locked version, or of all versions of a model."""
    theirs = delete(exports).where(exports.c.model == model)
    connection.execute(theirs if version is None else theirs.where(exports.c.version == version))


def _is(model: ModelId, version: int, export_format: ExportFormat) -> ColumnElement[bool]:
    return (
        (exports.c.model == model)
        & (exports.c.version == version)
        & (exports.c.format == export_format)
    )


def _to_export(row: Row[Any]) -> Export:
    return Export(**{**row._mapping, "format": ExportFormat(row.format)})
