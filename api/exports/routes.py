"""Routes of exports: a version as files that other software loads."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from fastapi import APIRouter, Request, Response

from api.dependencies import CurrentPrincipal, IdempotencyKey, Services, WiredServices, job_request
from api.exports.schemas import ExportList, ExportView, NewExport
from api.http.answers import IfNoneMatch, answer_download
from api.http.routing import ThreadRoute, needs
from api.http.schemas import VersionNumber
from api.jobs.routes import accepted
from api.jobs.schemas import JobView
from api.openapi_document import downloads, raises
from core import errors
from core.artifacts.store import Artifacts
from core.errors import StorageFull, is_full_disk
from core.exports.folders import write_tar
from core.exports.make import order_export
from core.exports.rows import Exports
from core.jobs.orders import ExportOrder
from core.platform import Platform
from core.principal import Role
from core.registry.exports_rules import Export, ExportFormat
from core.registry.rows import Models, Versions
from core.registry.versions import Model, Version
from core.upkeep import delete as deletion
from core.values import Digest, ModelId

# Cache of versions and their exports as tar files, verified at every use.


KEPT_S = 3600.0


def export_path(platform: Platform, model: Model, version: Version) -> Path:
    """Return the path of a version's tar file, written unless it is cached.

    Raises ArtifactMissing, ArtifactCorrupt or StorageFull.
    """
    stem = f"{model.id}-{version.number}-{version.digest[:16]}"
    folder = f"{model.name}-{version.number}"
    return _cached(platform, stem, lambda out: write_tar(platform.artifacts, version, folder, out))


def stored_export(platform: Platform, export: Export) -> Path:
    """Return the path of an export's tar file, copied from the store unless it is cached.

    Raises ArtifactMissing, ArtifactCorrupt or StorageFull.
    """
    stem = f"{export.model}-{export.version}-{export.format}-{export.artifact[:16]}"
    return _cached(platform, stem, partial(_copy, platform.artifacts, export.artifact))


def stored_file(platform: Platform, model: ModelId, number: int, artifact: Digest) -> Path:
    """Return the path of a version's stored file, copied from the store unless it is cached.

    Raises ArtifactMissing, ArtifactCorrupt or StorageFull.
    """
    stem = f"{model}-{number}-file-{artifact[:16]}"
    return _cached(platform, stem, partial(_copy, platform.artifacts, artifact))


def _copy(artifacts: Artifacts, artifact: Digest, out: BinaryIO) -> None:
    for piece in artifacts.pieces(artifact):
        out.write(piece)


def _cached(platform: Platform, stem: str, write: Callable[[BinaryIO], object]) -> Path:
    """Return the path of the file that `write` writes, unless it is cached.

    The file is written under another name and then renamed, so that a reader sees all of it or
    none. Its name holds its SHA-256; a file that no longer matches is written again. Files not
    used for an hour are deleted before a new one is written.
    """
    folder = platform.settings.home / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{stem}-*.tar"):
        if _is_intact(path):
            return path
    _delete_unused(folder)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as out:
            write(out)
            out.flush()
            os.fsync(descriptor)  # else a power cut may leave the name on an incomplete file
        path = folder / f"{stem}-{_hash(Path(name))}.tar"
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if is_full_disk(error):
            raise StorageFull from error
        raise
    return path


def delete_exports(
    platform: Platform,
    model: ModelId,
    number: int | None = None,
    export_format: ExportFormat | None = None,
) -> None:
    """Delete the cached tar files of a version or its export, or of every version of a model."""
    of = [
        model,
        "*" if number is None else str(number),
        *([export_format] if export_format else []),
    ]
    for path in (platform.settings.home / "exports").glob(f"{'-'.join(of)}-*.tar"):
        path.unlink(missing_ok=True)


def _is_intact(path: Path) -> bool:
    """Return True and renew a file that still has its digest; delete it otherwise."""
    try:
        if path.stem.endswith(_hash(path)):
            os.utime(path)
            return True
        path.unlink()
    except FileNotFoundError:  # another download has deleted it
        pass
    return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _delete_unused(folder: Path) -> None:
    old = time.time() - KEPT_S
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another download has deleted or renamed it
            if path.stat().st_mtime < old:
                path.unlink()


router = APIRouter(
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
    errors.ArtifactMissing,
    errors.ArtifactCorrupt,
    errors.StorageFull,
)


@router.post(
    "",
    status_code=202,
    responses=raises(
        *NOT_THERE,
        errors.ArtifactGone,
        errors.LearnedErasedImages,
        errors.NotExportable,
        errors.ExporterMissing,
        errors.InProgress,
        errors.IdempotencyMismatch,
        errors.JobDeleted,
        errors.TooManyJobs,
    ),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def order_version_export(
    model: str,
    version: VersionNumber,
    body: NewExport,
    request: Request,
    response: Response,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> JobView:
    """Order the export of a version: its files are written, loaded and compared with the version.

    A model that the format has no place for is refused at once. A version has one export in each
    format: the new one takes the place of the old.
    """
    job = order_export(
        services.platform,
        services.notifier,
        job_request(request, principal, key, body.model_dump(mode="json")),
        model=model,
        order=ExportOrder(version=version, format=body.format),
    )
    return accepted(services, response, job)


@router.get("", responses=raises(*NOT_THERE), openapi_extra=needs(Role.VIEWER))
def list_exports(model: str, version: VersionNumber, services: WiredServices) -> ExportList:
    """List the exports of a version, by format."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        rows = work[Exports].all(found.id, work[Versions].get(found.id, version).number)
    return ExportList(data=[ExportView.of(row, model=found.name) for row in rows])


@router.get(
    "/{export_format}",
    responses=raises(*NOT_THERE, errors.ExportNotFound),
    openapi_extra=needs(Role.VIEWER),
)
def get_export(
    model: str, version: VersionNumber, export_format: ExportFormat, services: WiredServices
) -> ExportView:
    """Return the export of a version in a format."""
    found, export = _find(services, model, version, export_format)
    return ExportView.of(export, model=found.name)


@router.get(
    "/{export_format}/download",
    responses=_DOWNLOADS,
    response_class=Response,
    openapi_extra=needs(Role.VIEWER),
)
def download_export(
    model: str,
    version: VersionNumber,
    export_format: ExportFormat,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download an export as a tar of one folder; ranges can resume it."""
    found, export = _find(services, model, version, export_format)
    return answer_download(
        export.artifact,
        if_none_match,
        lambda: stored_export(services.platform, export),
        media_type=TAR,
        filename=f"{found.name}-{version}-{export_format}.tar",
    )


@router.delete(
    "/{export_format}",
    status_code=204,
    responses=raises(*NOT_THERE, errors.ExportNotFound),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def delete_export(
    model: str, version: VersionNumber, export_format: ExportFormat, services: WiredServices
) -> None:
    """Delete an export; its file is collected. The version can be exported again."""
    deleted = deletion.delete_export(
        services.platform, model=model, version=version, export_format=export_format
    )
    delete_exports(services.platform, deleted.model, deleted.version, deleted.format)


def _find(
    services: Services, model: str, version: int, export_format: ExportFormat
) -> tuple[Model, Export]:
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        wanted = work[Versions].get(found.id, version)
        return found, work[Exports].get(found.id, wanted.number, export_format)
