"""The page of a dataset: what it holds now, and its versions."""

from functools import partial
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import Services, WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.forms import read_form
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from core.domain.access.roles import Role
from core.domain.datasets.dataset import DatasetKind
from core.domain.datasets.statistics import DatasetStatistics
from core.errors import PerennialError
from core.use_cases.datasets.freeze import freeze_version

router = APIRouter(
    prefix=f"{PAGES}/datasets/{{dataset}}", route_class=PageRoute, include_in_schema=False
)

CLASSES, VERSIONS = 100, 20  # of a page; newest
READ_AT_ONCE = 20_000  # images of which statistics are shown without asking: each is read

ClassName = Annotated[str, Query(max_length=500)]


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_dataset(dataset: str, request: Request, services: WiredServices) -> Response:
    """Show a dataset."""
    return _show(request, services, dataset)


@router.get("/statistics", openapi_extra=needs(Role.VIEWER))
def show_statistics(
    dataset: str, request: Request, services: WiredServices, after: ClassName = ""
) -> Response:
    """Show how many images of each class are on each side, and how many look alike."""
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        labelled = found.kind is DatasetKind.LABELLED
        counted = DatasetStatistics.of(work.datasets.members(found.id), labelled=labelled)
    later = [name for name in counted.classes if name > after]
    return page(
        request,
        "datasets/statistics.html",
        dataset=found,
        labelled=labelled,
        counted=counted,
        classes=later[:CLASSES],
        after=after,
        next=later[CLASSES - 1] if len(later) > CLASSES else None,
    )


@router.post("/versions", openapi_extra=needs(Role.CONTRIBUTOR))
async def freeze(dataset: str, request: Request, services: WiredServices) -> Response:
    """Freeze the present images into a version, unless the newest has the same, and show it."""
    await read_form(request)
    frozen = partial(freeze_version, services.platform, dataset, if_changed=True)
    try:
        version = await run_in_threadpool(frozen)
    except PerennialError as refusal:
        return await run_in_threadpool(_show, request, services, dataset, refusal=refusal)
    return RedirectResponse(f"{PAGES}/datasets/{dataset}/versions/{version.number}", 303)


def _show(
    request: Request,
    services: Services,
    dataset: str,
    *,
    refusal: PerennialError | None = None,
) -> Response:
    platform = services.platform
    with platform.transactions(read_only=True) as work:
        found = work.datasets.get(dataset)
        counts = work.datasets.count(found.id)
        versions = work.datasets.versions(found.id)
        taught = work.models.taught([found.id]).get(found.id, ())
    return page(
        request,
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
        refusal=refusal,
        now=platform.clock(),
    )
