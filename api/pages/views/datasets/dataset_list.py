"""The page of datasets, and the form that makes one."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import Services, WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.forms import read_form, short_field
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.schemas.common import After
from core.domain.access.roles import Role
from core.domain.datasets.dataset import DatasetKind
from core.errors import FieldInvalid, PerennialError
from core.use_cases.datasets.datasets import create_dataset

router = APIRouter(prefix=f"{PAGES}/datasets", route_class=PageRoute, include_in_schema=False)

DATASETS = 25
LONGEST_DESCRIPTION = 500  # characters


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_datasets(request: Request, services: WiredServices, after: After = None) -> Response:
    """Show datasets, oldest first."""
    return _show(request, services, after=after)


@router.post("", openapi_extra=needs(Role.CONTRIBUTOR))
async def make_dataset(request: Request, services: WiredServices) -> Response:
    """Make an empty dataset, and show it."""
    fields = await read_form(request)
    try:
        made = await run_in_threadpool(
            create_dataset,
            services.platform,
            fields.get("name", ""),
            _kind(fields),
            description=short_field(fields, "description", LONGEST_DESCRIPTION),
        )
    except PerennialError as refusal:
        return await run_in_threadpool(_show, request, services, fields=fields, refusal=refusal)
    return RedirectResponse(f"{PAGES}/datasets/{made.name}", 303)


def _show(
    request: Request,
    services: Services,
    *,
    after: str | None = None,
    fields: Mapping[str, str] | None = None,
    refusal: PerennialError | None = None,
) -> Response:
    """Return the page; after a refusal, with what was sent and why it is refused."""
    with services.platform.transactions(read_only=True) as work:
        found = work.datasets.page(DATASETS + 1, after)
        shown = found[:DATASETS]
        ids = [dataset.id for dataset in shown]
        newest = work.datasets.newest_versions(ids)
        taught = work.models.taught(ids)
    return page(
        request,
        "datasets/list.html",
        rows=[(one, *newest.get(one.id, (None, 0)), taught.get(one.id, ())) for one in shown],
        first=after is None,
        next=shown[-1].id if len(found) > DATASETS else None,
        kinds=list(DatasetKind),
        fields=fields or {},
        longest=LONGEST_DESCRIPTION,
        refusal=refusal,
        now=services.platform.clock(),
    )


def _kind(fields: Mapping[str, str]) -> DatasetKind:
    try:
        return DatasetKind(fields.get("kind", DatasetKind.LABELLED))
    except ValueError as error:
        kinds = " or ".join(DatasetKind)
        raise FieldInvalid(f"kind must be {kinds}.", pointer="/kind") from error
