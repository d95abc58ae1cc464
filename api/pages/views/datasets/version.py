"""Pages of a dataset version: its images, and what changed since another version."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.dependencies import Services, WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.schemas.common import Number, VersionNumber
from core.domain.access.roles import Role
from core.domain.datasets.dataset import Dataset, DatasetVersion
from core.domain.datasets.diff import ChangeKind, Diff
from core.domain.datasets.manifest import Manifest
from core.use_cases.datasets.manifests import read_manifest

router = APIRouter(
    prefix=f"{PAGES}/datasets/{{dataset}}/versions/{{version}}",
    route_class=PageRoute,
    include_in_schema=False,
)

IMAGES, CLASSES = 48, 300  # of a page; of the table

OfClass = Annotated[str, Query(alias="class", max_length=500)]
After = Annotated[str, Query(max_length=100)]


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_version(
    dataset: str, version: VersionNumber, request: Request, services: WiredServices
) -> Response:
    """Show a version."""
    found, versions = _find(services, dataset)
    with services.platform.transactions(read_only=True) as work:
        frozen = work.datasets.version(found.id, version)
    return page(
        request,
        "datasets/version.html",
        dataset=found,
        version=frozen,
        previous=max((one.number for one in versions if one.number < version), default=None),
        classes=frozen.classes[:CLASSES],
        now=services.platform.clock(),
    )


@router.get("/images", openapi_extra=needs(Role.VIEWER))
def show_images(
    dataset: str,
    version: VersionNumber,
    request: Request,
    services: WiredServices,
    of_class: OfClass = "",
    after: After = "",
) -> Response:
    """Show a page of the images of a class or of all."""
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        frozen = work.datasets.version(found.id, version)
    images = [
        entry
        for entry in _read(services, frozen).entries
        if entry.pixels > after and of_class in {"", *entry.texts}
    ]
    return page(
        request,
        "datasets/version_images.html",
        dataset=found,
        version=frozen,
        of_class=of_class,
        after=after,
        images=images[:IMAGES],
        next=images[IMAGES - 1].pixels if len(images) > IMAGES else None,
    )


@router.get("/diff", openapi_extra=needs(Role.VIEWER))
def show_diff(
    dataset: str,
    version: VersionNumber,
    request: Request,
    services: WiredServices,
    against: Annotated[Number, Query()],
    after: After = "",
) -> Response:
    """Show which images a version added, removed and moved, compared with another one."""
    found, versions = _find(services, dataset)
    with services.platform.transactions(read_only=True) as work:
        new, old = (work.datasets.version(found.id, number) for number in (version, against))
    diff = Diff.between(_read(services, old), _read(services, new))
    later = [change for change in diff.changes if change.pixels > after]
    return page(
        request,
        "datasets/diff.html",
        dataset=found,
        version=version,
        against=against,
        numbers=[one.number for one in versions],
        diff=diff,
        kinds=list(ChangeKind),
        classes=list(diff.classes.items())[:CLASSES],
        after=after,
        changes=later[:IMAGES],
        next=later[IMAGES - 1].pixels if len(later) > IMAGES else None,
    )


def _find(services: Services, dataset: str) -> tuple[Dataset, list[DatasetVersion]]:
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        return found, list(work.datasets.versions(found.id))


def _read(services: Services, version: DatasetVersion) -> Manifest:
    return read_manifest(services.platform.artifacts, version.manifest)
