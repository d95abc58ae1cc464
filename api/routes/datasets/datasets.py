"""Routes of datasets and their versions."""

from fastapi import APIRouter, Body, Response

from api.dependencies import WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import After, AfterNumber, Limit, Page, VersionNumber, number_after, page_of
from api.schemas.datasets.datasets import (
    DatasetChange,
    DatasetDetail,
    DatasetVersionView,
    DatasetView,
    NewDataset,
    NewDatasetVersion,
)
from core import errors
from core.domain.access.roles import Role
from core.domain.datasets.dataset import DatasetKind
from core.use_cases.datasets.datasets import create_dataset, describe_dataset
from core.use_cases.datasets.freeze import freeze_version
from core.use_cases.deletion import delete_dataset as deletion

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=ThreadRoute)


@router.post(
    "",
    status_code=201,
    responses=raises(errors.NameInvalid, errors.NameTaken),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def open_dataset(body: NewDataset, services: WiredServices, response: Response) -> DatasetView:
    """Create an empty dataset."""
    dataset = create_dataset(
        services.platform,
        body.name,
        body.kind,
        description=body.description,
        metadata=body.metadata,
    )
    response.headers["Location"] = f"/v1/datasets/{dataset.name}"
    return DatasetView.of(dataset)


@router.get("", openapi_extra=needs(Role.VIEWER))
def list_datasets(
    services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[DatasetView]:
    """List datasets, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work.datasets.page(limit + 1, after)
    return page_of(rows, limit, DatasetView.of, lambda row: row.id)


@router.get(
    "/{dataset}", responses=raises(errors.DatasetNotFound), openapi_extra=needs(Role.VIEWER)
)
def get_dataset(dataset: str, services: WiredServices) -> DatasetDetail:
    """Return a dataset with its image counts."""
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        counts = work.datasets.count(found.id)
    return DatasetDetail(
        **DatasetView.of(found).model_dump(),
        images=sum(counts.values()),
        counts=dict(counts) if found.kind is DatasetKind.LABELLED else {},
    )


@router.patch(
    "/{dataset}", responses=raises(errors.DatasetNotFound), openapi_extra=needs(Role.CONTRIBUTOR)
)
def change_dataset(dataset: str, body: DatasetChange, services: WiredServices) -> DatasetView:
    """Set the description or the metadata of a dataset."""
    changed = describe_dataset(
        services.platform, dataset, description=body.description, metadata=body.metadata
    )
    return DatasetView.of(changed)


@router.delete(
    "/{dataset}",
    status_code=204,
    responses=raises(errors.DatasetNotFound, errors.InUse),
    openapi_extra=needs(Role.ADMIN),
)
def delete_dataset(dataset: str, services: WiredServices) -> None:
    """Delete a dataset with its images and versions; its name is free afterwards."""
    deletion.delete_dataset(services.platform, dataset=dataset)


@router.post(
    "/{dataset}/versions",
    status_code=201,
    responses=raises(errors.DatasetNotFound, errors.DatasetEmpty, errors.ImageInSuite),
    openapi_extra=needs(Role.CONTRIBUTOR),
)
def freeze_dataset(
    dataset: str,
    services: WiredServices,
    response: Response,
    _body: NewDatasetVersion | None = Body(None),
) -> DatasetVersionView:
    """Freeze the dataset's present images into a version that never changes."""
    version = freeze_version(services.platform, dataset)
    response.headers["Location"] = f"/v1/datasets/{version.dataset}/versions/{version.number}"
    return DatasetVersionView.of(version)


@router.get(
    "/{dataset}/versions",
    responses=raises(errors.DatasetNotFound),
    openapi_extra=needs(Role.VIEWER),
)
def list_dataset_versions(
    dataset: str, services: WiredServices, limit: Limit = 50, after: AfterNumber = None
) -> Page[DatasetVersionView]:
    """List the versions of a dataset, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work.datasets.versions(work.datasets.get(dataset).id)
    start = number_after(after)
    later = [row for row in rows if row.number > start]
    return page_of(later, limit, DatasetVersionView.of, lambda row: row.number)


@router.get(
    "/{dataset}/versions/{version}",
    responses=raises(errors.DatasetNotFound, errors.DatasetVersionNotFound),
    openapi_extra=needs(Role.VIEWER),
)
def get_dataset_version(
    dataset: str, version: VersionNumber, services: WiredServices
) -> DatasetVersionView:
    """Return a version of a dataset."""
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        return DatasetVersionView.of(work.datasets.version(found.id, version))


@router.delete(
    "/{dataset}/versions/{version}",
    status_code=204,
    responses=raises(errors.DatasetNotFound, errors.DatasetVersionNotFound, errors.InUse),
    openapi_extra=needs(Role.ADMIN),
)
def delete_dataset_version(dataset: str, version: VersionNumber, services: WiredServices) -> None:
    """Delete a version of a dataset; its number is not given again."""
    deletion.delete_dataset_version(services.platform, dataset=dataset, version=version)
