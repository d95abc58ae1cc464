"""Routes of stored vectors, and of whether those of an old version still serve a new one."""

from typing import Annotated, Any

from fastapi import Depends, Response

from api.dependencies import Services, WiredServices
from api.exports.tars import stored_file
from api.http.answers import IfNoneMatch, answer_download, matches_etag
from api.http.routing import Routes, ThreadRoute, raises
from api.http.schemas import VersionNumber
from api.jobs.routes import ORDER_ERRORS, PlacedOrder
from api.jobs.schemas import JobView
from api.openapi_document import downloads
from api.vectors import schemas
from core import errors
from core.datasets.rows import Datasets
from core.principal import Role
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.values import Digest
from core.vectors import reembed
from core.vectors.compare_index import embedding_maps, order_comparison, read_index_report
from core.vectors.reembed import find_vectors, order_reembedding
from core.vectors.rows import IndexReports, Vectors
from core.vectors.rules import IndexReport
from core.vectors.stored import StoredVectors

router = Routes(
    prefix="/v1/models/{model}/versions/{version}", tags=["vectors"], route_class=ThreadRoute
)

NPY, LINES = "application/octet-stream", "application/jsonl"
SAFETENSORS = NPY
NO_VERSION = (errors.ModelNotFound, errors.VersionNotFound)
UNREADABLE = (errors.ArtifactMissing, errors.ArtifactCorrupt)
NOT_THERE = (*NO_VERSION, errors.DatasetNotFound, errors.VectorsNotFound)
_FAILURES = (*NOT_THERE, errors.ArtifactMissing, errors.ArtifactCorrupt, errors.StorageFull)

_Found = tuple[StoredVectors, str, str]  # with the names of the model and of the dataset

_BRIDGES: dict[int | str, dict[str, Any]] = {
    200: {"content": {SAFETENSORS: {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "If-None-Match names the file's ETag: the client has the file."},
    **raises(*NO_VERSION, errors.IndexReportNotFound, *UNREADABLE),
}


@router.post(
    "/vectors",
    Role.CONTRIBUTOR,
    *NO_VERSION,
    errors.DatasetNotFound,
    errors.DatasetVersionNotFound,
    errors.DatasetEmpty,
    errors.ArtifactGone,
    *ORDER_ERRORS,
    status_code=202,
)
def order_vectors(
    model: str, version: VersionNumber, body: schemas.NewVectors, ordering: PlacedOrder
) -> JobView:
    """Order the vectors of all images of a dataset version, in the place of those that are stored.

    The job stores them part by part, and resumes after the last part when its worker is killed.
    """
    job = order_reembedding(
        *ordering.of(body.model_dump(mode="json")),
        model=model,
        version=version,
        dataset=body.dataset,
        dataset_version=body.dataset_version,
    )
    return ordering.accepted(job)


@router.get("/vectors", Role.VIEWER, *NO_VERSION)
def list_vectors(
    model: str, version: VersionNumber, services: WiredServices
) -> schemas.VectorsList:
    """List the vectors by a version that are stored, by dataset and dataset version."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        rows = work[Vectors].all(found.id, work[Versions].get(found.id, version).number)
        names = [work[Datasets].get(row.dataset).name for row in rows]
    return schemas.VectorsList(
        data=[
            schemas.vectors_view(row, model=found.name, dataset=name)
            for row, name in zip(rows, names, strict=True)
        ]
    )


def _find_vectors(
    model: str,
    version: VersionNumber,
    dataset: str,
    dataset_version: VersionNumber,
    services: WiredServices,
) -> _Found:
    with services.platform.transactions(read_only=True) as work:
        model_found, stored = find_vectors(work, model, version, dataset, dataset_version)
        return stored, model_found.name, work[Datasets].get(stored.dataset).name


FoundVectors = Annotated[_Found, Depends(_find_vectors)]


@router.get("/vectors/{dataset}/{dataset_version}", Role.VIEWER, *NOT_THERE)
def get_vectors(found: FoundVectors) -> schemas.VectorsView:
    """Return what is stored of a dataset version's vectors."""
    stored, model, dataset = found
    return schemas.vectors_view(stored, model=model, dataset=dataset)


@router.get(
    "/vectors/{dataset}/{dataset_version}/download",
    Role.VIEWER,
    responses=downloads(NPY, *_FAILURES),
    response_class=Response,
)
def download_vectors(
    found: FoundVectors, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Download the vectors as a .npy file of float32, one row for each image; ranges resume it."""
    return _sent(services, found, found[0].artifact, NPY, "npy", if_none_match)


@router.get(
    "/vectors/{dataset}/{dataset_version}/images",
    Role.VIEWER,
    responses=downloads(LINES, *_FAILURES),
    response_class=Response,
)
def download_vector_images(
    found: FoundVectors, services: WiredServices, if_none_match: IfNoneMatch = None
) -> Response:
    """Download what each row is the vector of: a line of JSON, with `pixels` and `texts`."""
    return _sent(services, found, found[0].images, LINES, "jsonl", if_none_match)


def _sent(
    services: Services,
    found: _Found,
    artifact: Digest,
    media_type: str,
    ending: str,
    held: str | None,
) -> Response:
    stored, model, dataset = found
    place = f"{model}-{stored.version}-{dataset}-{stored.dataset_version}"
    return answer_download(
        artifact,
        held,
        lambda: stored_file(services.platform, stored.model, stored.version, artifact),
        media_type=media_type,
        filename=f"{place}.{ending}",
    )


@router.delete(
    "/vectors/{dataset}/{dataset_version}", Role.CONTRIBUTOR, *NOT_THERE, status_code=204
)
def delete_vectors(
    model: str,
    version: VersionNumber,
    dataset: str,
    dataset_version: VersionNumber,
    services: WiredServices,
) -> None:
    """Delete stored vectors; their files are collected. They can be ordered again."""
    reembed.delete_vectors(
        services.platform,
        model=model,
        version=version,
        dataset=dataset,
        dataset_version=dataset_version,
    )


# Compatibility.


@router.post(
    "/compatibility",
    Role.CONTRIBUTOR,
    *NO_VERSION,
    errors.FieldInvalid,
    errors.SuitesTooSmall,
    errors.ArtifactGone,
    *ORDER_ERRORS,
    status_code=202,
)
def order_index_comparison(
    model: str, version: VersionNumber, body: schemas.NewComparison, ordering: PlacedOrder
) -> JobView:
    """Order a report on whether an index of an older version's vectors still holds.

    The version searches the test images of the model's suites in an index of the old vectors: as it
    is, mapped by a bridge that is fitted on the validation images, and embedded again.
    """
    job = order_comparison(
        *ordering.of(body.model_dump(mode="json")),
        model=model,
        version=version,
        baseline=body.baseline,
    )
    return ordering.accepted(job)


@router.get("/compatibility", Role.VIEWER, *NO_VERSION, *UNREADABLE)
def list_compatibility(
    model: str, version: VersionNumber, services: WiredServices
) -> schemas.CompatibilityList:
    """List the reports of a version, by the version that each compares it with."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        rows = work[IndexReports].all(found.id, work[Versions].get(found.id, version).number)
    return schemas.CompatibilityList(data=[_view(services, found, row) for row in rows])


@router.get(
    "/compatibility/{baseline}", Role.VIEWER, *NO_VERSION, errors.IndexReportNotFound, *UNREADABLE
)
def get_compatibility(
    model: str, version: VersionNumber, baseline: VersionNumber, services: WiredServices
) -> schemas.CompatibilityView:
    """Return whether an index of the baseline's vectors still serves searches by the version."""
    return _view(services, *_find_report(services, model, version, baseline))


@router.get(
    "/compatibility/{baseline}/map",
    Role.VIEWER,
    *NO_VERSION,
    errors.IndexReportNotFound,
    *UNREADABLE,
)
def get_embedding_map(
    model: str, version: VersionNumber, baseline: VersionNumber, services: WiredServices
) -> schemas.EmbeddingMaps:
    """Return where both versions put test images, on two axes that are the same for both.

    The axes of a suite are the principal components of both versions' embeddings together.
    """
    found, row, maps = embedding_maps(services.platform, model, version, baseline)
    return schemas.EmbeddingMaps.of(row, model=found.name, data=maps)


@router.get(
    "/compatibility/{baseline}/bridge", Role.VIEWER, responses=_BRIDGES, response_class=Response
)
def download_bridge(
    model: str,
    version: VersionNumber,
    baseline: VersionNumber,
    services: WiredServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download the bridge as safetensors: `weight` and `bias`, and how to apply them."""
    found, row = _find_report(services, model, version, baseline)
    tag = {"ETag": f'"{row.bridge}"'}
    if matches_etag(if_none_match, tag["ETag"]):
        return Response(status_code=304, headers=tag)
    name = f"{found.name}-{baseline}-to-{version}.safetensors"
    return Response(
        services.platform.artifacts.get(row.bridge),
        media_type=SAFETENSORS,
        headers={**tag, "Content-Disposition": f'attachment; filename="{name}"'},
    )


def _find_report(
    services: Services, model: str, version: int, baseline: int
) -> tuple[Model, IndexReport]:
    with services.platform.transactions(read_only=True) as work:
        found = work[Models].get(model)
        number = work[Versions].get(found.id, version).number
        return found, work[IndexReports].get(found.id, number, baseline)


def _view(services: Services, model: Model, row: IndexReport) -> schemas.CompatibilityView:
    report = {**read_index_report(services.platform, row), "model": model.name}
    return schemas.compatibility_view(row, report)
