"""Routes of datasets, of their versions and classes, and of what they hold."""

from typing import Annotated

from fastapi import Body, Path, Query, Response
from pydantic import BeforeValidator

from api.datasets import schemas
from api.dependencies import Services, WiredServices
from api.http.routing import Routes, ThreadRoute, raises
from api.http.schemas import (
    After,
    AfterNumber,
    Limit,
    Page,
    VersionNumber,
    number_after,
    page_of,
    whole_number,
)
from core import errors
from core.datasets import edit as edit_classes
from core.datasets.changes import ChangeKind, Diff
from core.datasets.edit import create_dataset, describe_dataset
from core.datasets.freeze import freeze_version, read_shown
from core.datasets.manifests import DatasetStatistics, Manifest
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind
from core.datasets.thumbnail_rows import PlacedGroups, Splits
from core.principal import Role
from core.upkeep import delete as deletion
from core.values import Digest, clean_class

router = Routes(prefix="/v1/datasets", tags=["datasets"], route_class=ThreadRoute)

Against = Annotated[
    int,
    Query(ge=1, le=2**31 - 1, description="The version to compare with.", examples=[1]),
    BeforeValidator(whole_number),
]
ClassName = Annotated[str, Path(max_length=500, examples=["boot"])]

_OF_A_VERSION = raises(
    errors.DatasetNotFound, errors.DatasetVersionNotFound, errors.ArtifactCorrupt
)


@router.post("", Role.CONTRIBUTOR, errors.NameInvalid, errors.NameTaken, status_code=201)
def open_dataset(
    body: schemas.NewDataset, services: WiredServices, response: Response
) -> schemas.DatasetView:
    """Create an empty dataset."""
    dataset = create_dataset(
        services.platform,
        body.name,
        body.kind,
        description=body.description,
        metadata=body.metadata,
    )
    response.headers["Location"] = f"/v1/datasets/{dataset.name}"
    return schemas.DatasetView.of(dataset)


@router.get("", Role.VIEWER)
def list_datasets(
    services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[schemas.DatasetView]:
    """List datasets, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Datasets].page(limit + 1, after)
    return page_of(rows, limit, schemas.DatasetView.of, lambda row: row.id)


@router.get("/{dataset}", Role.VIEWER, errors.DatasetNotFound)
def get_dataset(dataset: str, services: WiredServices) -> schemas.DatasetDetail:
    """Return a dataset with its image counts."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        counts = work[Datasets].count(found.id)
    return schemas.DatasetDetail.of(
        found,
        images=sum(counts.values()),
        counts=dict(counts) if found.kind is DatasetKind.LABELLED else {},
    )


@router.patch("/{dataset}", Role.CONTRIBUTOR, errors.DatasetNotFound)
def change_dataset(
    dataset: str, body: schemas.DatasetChange, services: WiredServices
) -> schemas.DatasetView:
    """Set the description or the metadata of a dataset."""
    changed = describe_dataset(
        services.platform, dataset, description=body.description, metadata=body.metadata
    )
    return schemas.DatasetView.of(changed)


@router.delete(
    "/{dataset}", Role.CONTRIBUTOR, errors.DatasetNotFound, errors.InUse, status_code=204
)
def delete_dataset(dataset: str, services: WiredServices) -> None:
    """Delete a dataset with its images and versions; its name is free afterwards.

    It takes the role admin if the dataset has a version.
    """
    deletion.delete_dataset(services.platform, dataset=dataset)


@router.get("/{dataset}/statistics", Role.VIEWER, errors.DatasetNotFound)
def get_statistics(dataset: str, services: WiredServices) -> schemas.StatisticsView:
    """Count the present images of a dataset by class, side and near-duplicates."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        labelled = found.kind is DatasetKind.LABELLED
        counted = DatasetStatistics.of(
            work[Datasets].members(found.id),
            work[PlacedGroups].sides_in(found.id),
            work[Splits].get(),
            labelled=labelled,
        )
    return schemas.StatisticsView.of(counted, duplicates=found.duplicates)


@router.get("/{dataset}/near-duplicates", Role.VIEWER, errors.DatasetNotFound)
def list_near_duplicates(
    dataset: str, services: WiredServices, limit: Limit = 50, after: After = None
) -> Page[schemas.NearDuplicatesView]:
    """List the groups of near-duplicates of which a dataset holds at least two images."""
    last = Digest(after) if after else None
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        groups = work[Datasets].near_duplicate_page(found.id, limit + 1, last)
        views = schemas.near_duplicates_views(work, groups)
    return page_of(views, limit, lambda view: view, lambda view: view.group)


@router.patch(
    "/{dataset}/classes/{name:path}",
    Role.CONTRIBUTOR,
    errors.DatasetNotFound,
    errors.ClassNotFound,
    errors.ClassInvalid,
    errors.ClassTaken,
    errors.NotLabelled,
)
def rename_dataset_class(
    dataset: str, name: ClassName, body: schemas.ClassChange, services: WiredServices
) -> schemas.ClassView:
    """Rename a class of a dataset, or join it to another class; frozen versions do not change."""
    images = edit_classes.rename_class(
        services.platform, dataset, name, to=body.name, merge=body.merge
    )
    return schemas.ClassView(name=clean_class(body.name), images=images)


@router.post(
    "/{dataset}/moves",
    Role.CONTRIBUTOR,
    errors.DatasetNotFound,
    errors.ImageNotFound,
    errors.ClassInvalid,
    errors.NotLabelled,
)
def move_images(dataset: str, body: schemas.Moves, services: WiredServices) -> schemas.MovedView:
    """Move images of a dataset to a class, new or not; all or none."""
    moves = dict.fromkeys(map(Digest, body.images), body.name)
    moved = edit_classes.move_images(services.platform, dataset, moves)
    return schemas.MovedView(name=clean_class(body.name), moved=len(moved))


# Versions.


@router.post(
    "/{dataset}/versions",
    Role.CONTRIBUTOR,
    errors.DatasetNotFound,
    errors.DatasetEmpty,
    errors.ImageInSuite,
    status_code=201,
)
def freeze_dataset(
    dataset: str,
    services: WiredServices,
    response: Response,
    _body: schemas.NewDatasetVersion | None = Body(None),
) -> schemas.DatasetVersionView:
    """Freeze the dataset's present images into a version that never changes."""
    version = freeze_version(services.platform, dataset)
    response.headers["Location"] = f"/v1/datasets/{version.dataset}/versions/{version.number}"
    return schemas.DatasetVersionView.of(version)


@router.get("/{dataset}/versions", Role.VIEWER, errors.DatasetNotFound)
def list_dataset_versions(
    dataset: str, services: WiredServices, limit: Limit = 50, after: AfterNumber = None
) -> Page[schemas.DatasetVersionView]:
    """List the versions of a dataset, oldest first."""
    with services.platform.transactions(read_only=True) as work:
        rows = work[Datasets].versions(work[Datasets].get(dataset).id)
    start = number_after(after)
    later = [row for row in rows if row.number > start]
    return page_of(later, limit, schemas.DatasetVersionView.of, lambda row: row.number)


@router.get(
    "/{dataset}/versions/{version}",
    Role.VIEWER,
    errors.DatasetNotFound,
    errors.DatasetVersionNotFound,
)
def get_dataset_version(
    dataset: str, version: VersionNumber, services: WiredServices
) -> schemas.DatasetVersionView:
    """Return a version of a dataset."""
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        return schemas.DatasetVersionView.of(work[Datasets].version(found.id, version))


@router.delete(
    "/{dataset}/versions/{version}",
    Role.ADMIN,
    errors.DatasetNotFound,
    errors.DatasetVersionNotFound,
    errors.InUse,
    status_code=204,
)
def delete_dataset_version(dataset: str, version: VersionNumber, services: WiredServices) -> None:
    """Delete a version of a dataset; its number is not given again."""
    deletion.delete_dataset_version(services.platform, dataset=dataset, version=version)


@router.get("/{dataset}/versions/{version}/images", Role.VIEWER, responses=_OF_A_VERSION)
def list_frozen_images(
    dataset: str,
    version: VersionNumber,
    services: WiredServices,
    of_class: schemas.OfClass = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[schemas.FrozenImageView]:
    """List the images of a dataset version, ordered by the digest of their pixels."""
    (manifest,) = _manifests(services, dataset, version)
    later = [
        entry
        for entry in manifest.entries
        if entry.pixels > (after or "") and (of_class is None or of_class in entry.texts)
    ]
    return page_of(later, limit, schemas.FrozenImageView.of, lambda entry: entry.pixels)


@router.get("/{dataset}/versions/{version}/diff", Role.VIEWER, responses=_OF_A_VERSION)
def diff_dataset_versions(
    dataset: str,
    version: VersionNumber,
    services: WiredServices,
    against: Against,
    limit: Limit = 50,
    after: After = None,
) -> schemas.DiffView:
    """Return what a version added, removed and moved, compared with another version."""
    new, old = _manifests(services, dataset, version, against)
    found = Diff.between(old, new)
    later = [change for change in found.changes if change.pixels > (after or "")]
    page = page_of(later, limit, schemas.ImageChangeView.of, lambda change: change.pixels)
    return schemas.DiffView(
        **vars(page),
        version=version,
        against=against,
        added=found.counts[ChangeKind.ADDED],
        removed=found.counts[ChangeKind.REMOVED],
        moved=found.counts[ChangeKind.MOVED],
        classes={name: schemas.ClassDiffView.of(one) for name, one in found.classes.items()},
    )


def _manifests(services: Services, dataset: str, *numbers: int) -> list[Manifest]:
    with services.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        versions = [work[Datasets].version(found.id, number) for number in numbers]
        return [read_shown(work, services.platform.artifacts, one.manifest) for one in versions]
