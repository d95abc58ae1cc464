"""Routes of exports: a version as files that other software loads."""

from fastapi import Response

from api.dependencies import Services, WiredServices
from api.exports.schemas import ExportList, ExportView, NewExport, export_view
from api.exports.tars import delete_cached_tars, stored_file
from api.http.answers import IfNoneMatch, answer_download
from api.http.routing import Routes, ThreadRoute
from api.http.schemas import VersionNumber
from api.jobs.routes import ORDER_ERRORS, PlacedOrder
from api.jobs.schemas import JobView
from api.openapi_document import downloads
from core import errors
from core.exports.make import order_export
from core.exports.rows import Exports
from core.jobs.orders import ExportOrder
from core.principal import Role
from core.registry.exports import Export, ExportFormat
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.upkeep import delete as deletion

router = Routes(
    prefix="/v1/models/{model}/versions/{version}/exports",
    tags=["exports"],
    route_class=ThreadRoute,
)

TAR = "application/x-tar"
NOT_THERE = (errors.ModelNotFound, errors.VersionNotFound)

_DOWNLOADS = downloads(
    TAR,
    *NOT_THERE,
    errors.ExportNotFound,
    errors.LearnedErasedImages,
    errors.ArtifactMissing,
    errors.ArtifactCorrupt,
    errors.StorageFull,
)


@router.post(
    "",
    Role.CONTRIBUTOR,
    *NOT_THERE,
    errors.ArtifactGone,
    errors.LearnedErasedImages,
    errors.NotExportable,
    errors.ExporterMissing,
    *ORDER_ERRORS,
    status_code=202,
)
def order_version_export(
    model: str, version: VersionNumber, body: NewExport, ordering: PlacedOrder
) -> JobView:
    """Order the export of a version: its files are written, loaded and compared with the version.

    A model that the format has no place for is refused at once. A version has one export in each
    format: the new one takes the place of the old.
    """
    job = order_export(
        *ordering.of(body.model_dump(mode="json")),
        model=model,
        order=ExportOrder(version=version, format=body.format),
    )
    return ordering.accepted(job)


@router.get("", Role.VIEWER, *NOT_THERE)
def list_exports(model: str, version: VersionNumber, services: WiredServices) -> ExportList:
    """List the exports of a version, by format."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        rows = work[Exports].all(found.id, work[Versions].get(found.id, version).number)
    return ExportList(data=[export_view(row, model=found.name) for row in rows])


@router.get("/{export_format}", Role.VIEWER, *NOT_THERE, errors.ExportNotFound)
def get_export(
    model: str, version: VersionNumber, export_format: ExportFormat, services: WiredServices
) -> ExportView:
    """Return the export of a version in a format."""
    found, export = _find(services, model, version, export_format)
    return export_view(export, model=found.name)


@router.get("/{export_format}/download", Role.VIEWER, responses=_DOWNLOADS, response_class=Response)
def download_export(
    model: str,
    version: VersionNumber,
    export_format: ExportFormat,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download an export as a tar of one folder; ranges can resume it."""
    found, export = _find(services, model, version, export_format, download=True)
    return answer_download(
        export.artifact,
        if_none_match,
        lambda: stored_file(services.platform, found.id, version, export.artifact, export_format),
        media_type=TAR,
        filename=f"{found.name}-{version}-{export_format}.tar",
    )


@router.delete(
    "/{export_format}", Role.CONTRIBUTOR, *NOT_THERE, errors.ExportNotFound, status_code=204
)
def delete_export(
    model: str, version: VersionNumber, export_format: ExportFormat, services: WiredServices
) -> None:
    """Delete an export; its file is collected. The version can be exported again."""
    deleted = deletion.delete_export(
        services.platform, model=model, version=version, export_format=export_format
    )
    delete_cached_tars(services.platform, deleted.model, deleted.version, deleted.format)


def _find(
    services: Services,
    model: str,
    version: int,
    export_format: ExportFormat,
    *,
    download: bool = False,
) -> tuple[Model, Export]:
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
        if download:
            wanted.require_clean()
        return found, work[Exports].get(found.id, wanted.number, export_format)
