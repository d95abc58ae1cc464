"""Routes of what a dataset and its versions hold: counts, near-duplicates, images, differences."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from api.dependencies import Services, WiredServices
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import After, Limit, Page, VersionNumber, page_of, whole_number
from api.schemas.datasets.contents import DiffView, ImageChangeView, StatisticsView
from api.schemas.datasets.images import FrozenImageView, NearDuplicatesView, OfClass
from core import errors
from core.domain.access.roles import Role
from core.domain.datasets.dataset import DatasetKind
from core.domain.datasets.diff import Diff
from core.domain.datasets.manifest import Manifest
from core.domain.datasets.statistics import DatasetStatistics
from core.domain.values import Digest
from core.use_cases.datasets.manifests import read_manifest

router = APIRouter(prefix="/v1/datasets/{dataset}", tags=["datasets"], route_class=ThreadRoute)

Against = Annotated[
    int,
    Query(ge=1, le=2**31 - 1, description="The version to compare with.", examples=[1]),
    BeforeValidator(whole_number),
]
_OF_A_VERSION = raises(
    errors.DatasetNotFound, errors.DatasetVersionNotFound, errors.ArtifactCorrupt
)


@router.get(
    "/statistics", responses=raises(errors.DatasetNotFound), openapi_extra=needs(Role.VIEWER)
)
def get_statistics(dataset: str, services: WiredServices) -> StatisticsView:
    """Count the present images of a dataset by class, side and near-duplicates."""
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        labelled = found.kind is DatasetKind.LABELLED
        counted = DatasetStatistics.of(work.datasets.members(found.id), labelled=labelled)
    return StatisticsView.of(counted, duplicates=found.duplicates)


@router.get(
    "/near-duplicates", responses=raises(errors.DatasetNotFound), openapi_extra=needs(Role.VIEWER)
)
def list_near_duplicates(
    dataset: str, services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[NearDuplicatesView]:
    """List the groups of near-duplicates of which a dataset holds at least two images."""
    last = Digest(after) if after else None
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        groups = work.datasets.near_duplicate_page(found.id, limit + 1, last)
    return page_of(groups, limit, NearDuplicatesView.of, lambda found: found.group)


@router.get("/versions/{version}/images", responses=_OF_A_VERSION, openapi_extra=needs(Role.VIEWER))
def list_frozen_images(
    dataset: str,
    version: VersionNumber,
    services: WiredServices,
    of_class: OfClass = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[FrozenImageView]:
    """List the images of a dataset version, ordered by the digest of their pixels."""
    (manifest,) = _manifests(services, dataset, version)
    later = [
        entry
        for entry in manifest.entries
        if entry.pixels > (after or "") and (of_class is None or of_class in entry.texts)
    ]
    return page_of(later, limit, FrozenImageView.of, lambda entry: entry.pixels)


@router.get("/versions/{version}/diff", responses=_OF_A_VERSION, openapi_extra=needs(Role.VIEWER))
def diff_dataset_versions(
    dataset: str,
    version: VersionNumber,
    services: WiredServices,
    against: Against,
    limit: Limit = 50,
    after: After = None,
) -> DiffView:
    """Return what a version added, removed and moved, compared with another version."""
    new, old = _manifests(services, dataset, version, against)
    found = Diff.between(old, new)
    later = [change for change in found.changes if change.pixels > (after or "")]
    page = page_of(later, limit, ImageChangeView.of, lambda change: change.pixels)
    return DiffView.of(found, page, version=version, against=against)


def _manifests(services: Services, dataset: str, *numbers: int) -> list[Manifest]:
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        versions = [work.datasets.version(found.id, number) for number in numbers]
    return [read_manifest(services.platform.artifacts, one.manifest) for one in versions]
