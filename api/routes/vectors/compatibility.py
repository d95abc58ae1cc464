"""Routes of reports on old indexes: whether vectors of an old version still serve a new one."""

from typing import Any

from fastapi import APIRouter, Request, Response

from api.accepted_job import accepted
from api.dependencies import CurrentPrincipal, IdempotencyKey, Services, WiredServices, job_request
from api.http.downloads import IfNoneMatch
from api.http.preconditions import matches_etag
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import VersionNumber
from api.schemas.jobs.jobs import JobView
from api.schemas.vectors import CompatibilityList, CompatibilityView, EmbeddingMaps, NewComparison
from core import errors
from core.domain.access.roles import Role
from core.domain.registry.version import Model
from core.domain.vectors.stored_vectors import IndexReport
from core.use_cases.vectors.index_report import embedding_maps, read_index_report
from core.use_cases.vectors.order_comparison import order_comparison

router = APIRouter(
    prefix="/v1/models/{model}/versions/{version}/compatibility",
    tags=["vectors"],
    route_class=ThreadRoute,
)

SAFETENSORS = "application/octet-stream"
NO_VERSION = (errors.ModelNotFound, errors.VersionNotFound)
UNREADABLE = (errors.ArtifactMissing, errors.ArtifactCorrupt)
_BRIDGES: dict[int | str, dict[str, Any]] = {
    200: {"content": {SAFETENSORS: {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "If-None-Match names the file's ETag: the client has the file."},
    **raises(*NO_VERSION, errors.IndexReportNotFound, *UNREADABLE),
}


@router.post(
    "",
    status_code=202,
    responses=raises(
        *NO_VERSION,
        errors.FieldInvalid,
        errors.SuitesTooSmall,
        errors.ArtifactGone,
        errors.InProgress,
        errors.IdempotencyMismatch,
        errors.JobDeleted,
        errors.TooManyJobs,
    ),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def order_index_comparison(
    model: str,
    version: VersionNumber,
    body: NewComparison,
    request: Request,
    response: Response,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> JobView:
    """Order a report on whether an index of an older version's vectors still holds.

    The version searches the test images of the model's suites in an index of the old vectors: as it
    is, mapped by a bridge that is fitted on the validation images, and embedded again.
    """
    job = order_comparison(
        services.platform,
        services.notifier,
        job_request(request, principal, key, body.model_dump(mode="json")),
        model=model,
        version=version,
        baseline=body.baseline,
    )
    return accepted(services, response, job)


@router.get("", responses=raises(*NO_VERSION, *UNREADABLE), openapi_extra=needs(Role.VIEWER))
def list_compatibility(
    model: str, version: VersionNumber, services: WiredServices
) -> CompatibilityList:
    """List the reports of a version, by the version that each compares it with."""
    with services.platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        rows = work.index_reports.all(found.id, work.versions.get(found.id, version).number)
    return CompatibilityList(data=[_view(services, found, row) for row in rows])


@router.get(
    "/{baseline}",
    responses=raises(*NO_VERSION, errors.IndexReportNotFound, *UNREADABLE),
    openapi_extra=needs(Role.VIEWER),
)
def get_compatibility(
    model: str, version: VersionNumber, baseline: VersionNumber, services: WiredServices
) -> CompatibilityView:
    """Return whether an index of the baseline's vectors still serves searches by the version."""
    return _view(services, *_find(services, model, version, baseline))


@router.get(
    "/{baseline}/map",
    responses=raises(*NO_VERSION, errors.IndexReportNotFound, *UNREADABLE),
    openapi_extra=needs(Role.VIEWER),
)
def get_embedding_map(
    model: str, version: VersionNumber, baseline: VersionNumber, services: WiredServices
) -> EmbeddingMaps:
    """Return where both versions put test images, on two axes that are the same for both.

    The axes of a suite are the principal components of both versions' embeddings together.
    """
    found, row, maps = embedding_maps(services.platform, model, version, baseline)
    return EmbeddingMaps.of(found.name, row, maps)


@router.get(
    "/{baseline}/bridge",
    responses=_BRIDGES,
    response_class=Response,
    openapi_extra=needs(Role.VIEWER),
)
def download_bridge(
    model: str,
    version: VersionNumber,
    baseline: VersionNumber,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download the bridge as safetensors: `weight` and `bias`, and how to apply them."""
    found, row = _find(services, model, version, baseline)
    tag = {"ETag": f'"{row.bridge}"'}
    if matches_etag(if_none_match, tag["ETag"]):
        return Response(status_code=304, headers=tag)
    name = f"{found.name}-{baseline}-to-{version}.safetensors"
    return Response(
        services.platform.artifacts.get(row.bridge),
        media_type=SAFETENSORS,
        headers={**tag, "Content-Disposition": f'attachment; filename="{name}"'},
    )


def _find(services: Services, model: str, version: int, baseline: int) -> tuple[Model, IndexReport]:
    with services.platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        number = work.versions.get(found.id, version).number
        return found, work.index_reports.get(found.id, number, baseline)


def _view(services: Services, model: Model, row: IndexReport) -> CompatibilityView:
    report = {**read_index_report(services.platform, row), "model": model.name}
    return CompatibilityView.of(row, report)
