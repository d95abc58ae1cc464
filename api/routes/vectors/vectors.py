"""Routes of stored vectors: those of a dataset version's images by a version of a model."""

from fastapi import APIRouter, Request, Response

from api.accepted_job import accepted
from api.dependencies import CurrentPrincipal, IdempotencyKey, Services, WiredServices, job_request
from api.http.downloads import IfNoneMatch, answer_download
from api.http.export_cache import stored_file
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import downloads, raises
from api.schemas.common import VersionNumber
from api.schemas.jobs.jobs import JobView
from api.schemas.vectors import NewVectors, VectorsList, VectorsView
from core import errors
from core.domain.access.roles import Role
from core.domain.registry.version import Model
from core.domain.values import Digest
from core.domain.vectors.stored_vectors import StoredVectors
from core.use_cases.vectors import delete_vectors as deletion
from core.use_cases.vectors.delete_vectors import find_vectors
from core.use_cases.vectors.order_reembedding import order_reembedding

router = APIRouter(
    prefix="/v1/models/{model}/versions/{version}/vectors",
    tags=["vectors"],
    route_class=ThreadRoute,
)

NPY, LINES = "application/octet-stream", "application/jsonl"
NO_VERSION = (errors.ModelNotFound, errors.VersionNotFound)
NOT_THERE = (*NO_VERSION, errors.DatasetNotFound, errors.VectorsNotFound)
_FAILURES = (*NOT_THERE, errors.ArtifactMissing, errors.ArtifactCorrupt, errors.StorageFull)


@router.post(
    "",
    status_code=202,
    responses=raises(
        *NO_VERSION,
        errors.DatasetNotFound,
        errors.DatasetVersionNotFound,
        errors.DatasetEmpty,
        errors.ArtifactGone,
        errors.InProgress,
        errors.IdempotencyMismatch,
        errors.JobDeleted,
        errors.TooManyJobs,
    ),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def order_vectors(
    model: str,
    version: VersionNumber,
    body: NewVectors,
    request: Request,
    response: Response,
    services: WiredServices,
    principal: CurrentPrincipal,
    key: IdempotencyKey = None,
) -> JobView:
    """Order the vectors of all images of a dataset version, in the place of those that are stored.

    The job stores them part by part, and resumes after the last part when its worker is killed.
    """
    job = order_reembedding(
        services.platform,
        services.notifier,
        job_request(request, principal, key, body.model_dump(mode="json")),
        model=model,
        version=version,
        dataset=body.dataset,
        dataset_version=body.dataset_version,
    )
    return accepted(services, response, job)


@router.get("", responses=raises(*NO_VERSION), openapi_extra=needs(Role.VIEWER))
def list_vectors(model: str, version: VersionNumber, services: WiredServices) -> VectorsList:
    """List the vectors by a version that are stored, by dataset and dataset version."""
    with services.platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        rows = work.vectors.all(found.id, work.versions.get(found.id, version).number)
        names = [work.datasets.get(row.dataset).name for row in rows]
    return VectorsList(
        data=[
            VectorsView.of(row, model=found.name, dataset=name)
            for row, name in zip(rows, names, strict=True)
        ]
    )


@router.get(
    "/{dataset}/{dataset_version}",
    responses=raises(*NOT_THERE),
    openapi_extra=needs(Role.VIEWER),
)
def get_vectors(
    model: str,
    version: VersionNumber,
    dataset: str,
    dataset_version: VersionNumber,
    services: WiredServices,
) -> VectorsView:
    """Return what is stored of a dataset version's vectors."""
    found, stored, name = _find(services, model, version, dataset, dataset_version)
    return VectorsView.of(stored, model=found.name, dataset=name)


@router.get(
    "/{dataset}/{dataset_version}/download",
    responses=downloads(NPY, *_FAILURES),
    response_class=Response,
    openapi_extra=needs(Role.VIEWER),
)
def download_vectors(
    model: str,
    version: VersionNumber,
    dataset: str,
    dataset_version: VersionNumber,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download the vectors as a .npy file of float32, one row for each image; ranges resume it."""
    found, stored, name = _find(services, model, version, dataset, dataset_version)
    file = f"{found.name}-{version}-{name}-{dataset_version}.npy"
    return _sent(services, stored, stored.artifact, NPY, file, if_none_match)


@router.get(
    "/{dataset}/{dataset_version}/images",
    responses=downloads(LINES, *_FAILURES),
    response_class=Response,
    openapi_extra=needs(Role.VIEWER),
)
def download_vector_images(
    model: str,
    version: VersionNumber,
    dataset: str,
    dataset_version: VersionNumber,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download what each row is the vector of: a line of JSON, with `pixels` and `texts`."""
    found, stored, name = _find(services, model, version, dataset, dataset_version)
    file = f"{found.name}-{version}-{name}-{dataset_version}.jsonl"
    return _sent(services, stored, stored.images, LINES, file, if_none_match)


@router.delete(
    "/{dataset}/{dataset_version}",
    status_code=204,
    responses=raises(*NOT_THERE),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def delete_vectors(
    model: str,
    version: VersionNumber,
    dataset: str,
    dataset_version: VersionNumber,
    services: WiredServices,
) -> None:
    """Delete stored vectors; their files are collected. They can be ordered again."""
    deletion.delete_vectors(
        services.platform,
        model=model,
        version=version,
        dataset=dataset,
        dataset_version=dataset_version,
    )


def _find(
    services: Services, model: str, version: int, dataset: str, dataset_version: int
) -> tuple[Model, StoredVectors, str]:
    with services.platform.transactions(read_only=True) as work:
        found, stored = find_vectors(work, model, version, dataset, dataset_version)
        return found, stored, work.datasets.get(stored.dataset).name


def _sent(
    services: Services,
    stored: StoredVectors,
    artifact: Digest,
    media_type: str,
    file_name: str,
    held: str | None,
) -> Response:
    return answer_download(
        artifact,
        held,
        lambda: stored_file(services.platform, stored.model, stored.version, artifact),
        media_type=media_type,
        filename=file_name,
    )
