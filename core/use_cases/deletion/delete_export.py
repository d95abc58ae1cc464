"""Delete an export."""

from core.domain.access.audit import Action
from core.domain.export_format import ExportFormat
from core.domain.registry.export import Export
from core.ports import Platform
from core.use_cases.access import audit


def delete_export(
    platform: Platform, *, model: str, version: int, export_format: ExportFormat
) -> Export:
    """Delete the export of a version in a format and return it as it was.

    Garbage collection deletes its file. Raises ModelNotFound, VersionNotFound or ExportNotFound.
    """
    with platform.transactions() as work:
        found = work.models.get(model)
        wanted = work.versions.get(found.id, version)
        export = work.exports.get(found.id, wanted.number, export_format)
        work.exports.remove(found.id, wanted.number, export_format)
        audit.record(
            work,
            Action.EXPORT_DELETED,
            f"models/{found.name}/versions/{wanted.number}/exports/{export_format}",
            now=platform.clock(),
            before={"artifact": export.artifact},
        )
        work.commit()
    return export
