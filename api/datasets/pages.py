"""Pages of datasets: the list, a dataset, and a version with its images and what it changed."""

from collections.abc import Mapping
from itertools import islice
from typing import Annotated

from fastapi import Query
from starlette.responses import RedirectResponse, Response

from api.datasets.image_pages import AfterPixels, OfClass
from api.dependencies import Services
from api.http.routing import PAGES, Routes
from api.http.schemas import After, Number, VersionNumber
from api.pages.browsing import PageRoute
from api.pages.forms import SentForm, fresh_key, short_field
from api.pages.rendering import PageRequest
from core.datasets.changes import ChangeKind, Diff
from core.datasets.edit import create_dataset
from core.datasets.freeze import freeze_version, read_shown
from core.datasets.manifests import SPLIT_RULE, DatasetStatistics, Manifest
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, DatasetVersion
from core.datasets.thumbnail_rows import PlacedGroups, Splits
from core.errors import FieldInvalid, PerennialError
from core.principal import Role
from core.registry.rows import Models

router = Routes(prefix=f"{PAGES}/datasets", route_class=PageRoute, include_in_schema=False)

DATASETS = 25  # of the list
CLASSES, VERSIONS = 100, 20  # of a dataset; its newest
IMAGES, VERSION_CLASSES = 48, 300  # of a version
READ_AT_ONCE = 20_000  # images of which statistics are shown without asking: each is read
LONGEST_DESCRIPTION = 500  # characters

ClassName = Annotated[str, Query(max_length=500)]


@router.get("", Role.VIEWER)
def show_datasets(asked: PageRequest, after: After = None) -> Response:
    """Show datasets, oldest first."""
    return _list_page(asked, after=after)


@router.post("", Role.CONTRIBUTOR)
def make_dataset(asked: PageRequest, fields: SentForm) -> Response:
    """Make an empty dataset, and show it."""
    try:
        made = create_dataset(
            asked.platform,
            fields.get("name", ""),
            _kind(fields),
            description=short_field(fields, "description", LONGEST_DESCRIPTION),
        )
    except PerennialError as refusal:
        return _list_page(asked, fields=fields, refusal=refusal)
    return RedirectResponse(f"{PAGES}/datasets/{made.name}", 303)


def _list_page(
    asked: PageRequest,
    *,
    after: str | None = None,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return the page; after a refusal, with what was sent and why it is refused."""
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].page(DATASETS + 1, after)
        shown = found[:DATASETS]
        ids = [dataset.id for dataset in shown]
        newest = work[Datasets].newest_versions(ids)
        taught = work[Models].taught(ids)
    return asked.page(
        "datasets/list.html",
        rows=[(one, *newest.get(one.id, (None, 0)), taught.get(one.id, ())) for one in shown],
        first=after is None,
        next=shown[-1].id if len(found) > DATASETS else None,
        kinds=list(DatasetKind),
        fields=fields or {},
        longest=LONGEST_DESCRIPTION,
        refusal=refusal,
    )


def _kind(fields: Mapping[str, str]) -> DatasetKind:
    try:
        return DatasetKind(fields.get("kind", DatasetKind.LABELLED))
    except ValueError as error:
        kinds = " or ".join(DatasetKind)
        raise FieldInvalid(f"kind must be {kinds}.", pointer="/kind") from error


@router.get("/{dataset}", Role.VIEWER)
def show_dataset(dataset: str, asked: PageRequest) -> Response:
    """Show a dataset."""
    return dataset_page(asked, dataset)


@router.get("/{dataset}/statistics", Role.VIEWER)
def show_statistics(dataset: str, asked: PageRequest, after: ClassName = "") -> Response:
    """Show how many images of each class are on each side, and how many look alike."""
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        labelled = found.kind is DatasetKind.LABELLED
        counted = DatasetStatistics.of(
            work[Datasets].members(found.id),
            work[PlacedGroups].sides_in(found.id),
            work[Splits].get(),
            labelled=labelled,
        )
    later = [name for name in counted.classes if name > after]
    return asked.page(
        "datasets/statistics.html",
        dataset=found,
        labelled=labelled,
        counted=counted,
        split_rule=SPLIT_RULE,
        classes=later[:CLASSES],
        after=after,
        next=later[CLASSES - 1] if len(later) > CLASSES else None,
    )


@router.post("/{dataset}/versions", Role.CONTRIBUTOR)
def freeze(dataset: str, asked: PageRequest, _form: SentForm) -> Response:
    """Freeze the present images into a version, unless the newest has the same, and show it."""
    try:
        version = freeze_version(asked.platform, dataset, if_changed=True)
    except PerennialError as refusal:
        return dataset_page(asked, dataset, refusal=refusal)
    return RedirectResponse(f"{PAGES}/datasets/{dataset}/versions/{version.number}", 303)


def dataset_page(
    asked: PageRequest,
    dataset: str,
    *,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return the page; after a refusal, with what was sent for an import and why it is refused."""
    platform = asked.platform
    with platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        counts = work[Datasets].count(found.id)
        versions = work[Datasets].versions(found.id)
        taught = work[Models].taught([found.id]).get(found.id, ())
    return asked.page(
        "datasets/dataset.html",
        dataset=found,
        labelled=found.kind is DatasetKind.LABELLED,
        images=sum(counts.values()),
        counts=counts,
        read_at_once=READ_AT_ONCE,
        classes=list(islice(counts, CLASSES)),
        versions=versions[: -VERSIONS - 1 : -1],
        taught=taught,
        settings=platform.settings,
        fields=fields or {},
        key=fresh_key(),
        refusal=refusal,
    )


@router.get("/{dataset}/versions/{version}", Role.VIEWER)
def show_version(dataset: str, version: VersionNumber, asked: PageRequest) -> Response:
    """Show a version."""
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        versions = work[Datasets].versions(found.id)
        frozen = work[Datasets].version(found.id, version)
    return asked.page(
        "datasets/version.html",
        dataset=found,
        version=frozen,
        previous=max((one.number for one in versions if one.number < version), default=None),
        classes=frozen.classes[:VERSION_CLASSES],
        split_rule=SPLIT_RULE,
    )


@router.get("/{dataset}/versions/{version}/images", Role.VIEWER)
def show_images(
    dataset: str,
    version: VersionNumber,
    asked: PageRequest,
    of_class: OfClass = "",
    after: AfterPixels = "",
) -> Response:
    """Show a page of the images of a class or of all."""
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        frozen = work[Datasets].version(found.id, version)
    images = [
        entry
        for entry in _read(asked.services, frozen).entries
        if entry.pixels > after and of_class in {"", *entry.texts}
    ]
    return asked.page(
        "datasets/version_images.html",
        dataset=found,
        version=frozen,
        of_class=of_class,
        after=after,
        images=images[:IMAGES],
        next=images[IMAGES - 1].pixels if len(images) > IMAGES else None,
    )


@router.get("/{dataset}/versions/{version}/diff", Role.VIEWER)
def show_diff(
    dataset: str,
    version: VersionNumber,
    asked: PageRequest,
    against: Annotated[Number, Query()],
    after: AfterPixels = "",
) -> Response:
    """Show which images a version added, removed and moved, compared with another one."""
    with asked.platform.transactions(read_only=True) as work:
        found = work[Datasets].get(dataset)
        versions = work[Datasets].versions(found.id)
        new, old = (work[Datasets].version(found.id, number) for number in (version, against))
    diff = Diff.between(_read(asked.services, old), _read(asked.services, new))
    later = [change for change in diff.changes if change.pixels > after]
    return asked.page(
        "datasets/diff.html",
        dataset=found,
        version=version,
        against=against,
        numbers=[one.number for one in versions],
        diff=diff,
        kinds=list(ChangeKind),
        classes=list(diff.classes.items())[:VERSION_CLASSES],
        after=after,
        changes=later[:IMAGES],
        next=later[IMAGES - 1].pixels if len(later) > IMAGES else None,
    )


def _read(services: Services, version: DatasetVersion) -> Manifest:
    with services.platform.transactions(read_only=True) as work:
        return read_shown(work, services.platform.artifacts, version.manifest)
