"""The page of a map of embeddings: where two versions put the test images of a suite."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.dependencies import CurrentPrincipal, Services, WiredServices, job_request
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.filters import Chosen, Text
from api.pages.browser.forms import read_form, whole_field
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.pages.figures.map_plot import map_plot
from api.schemas.common import Number
from core.domain.access.roles import Role
from core.errors import IndexReportNotFound, PerennialError
from core.use_cases.vectors.index_report import embedding_maps
from core.use_cases.vectors.order_comparison import order_comparison

router = APIRouter(
    prefix=f"{PAGES}/models/{{model}}/map", route_class=PageRoute, include_in_schema=False
)

VERSIONS = 200  # to choose from


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_map(
    model: str,
    request: Request,
    services: WiredServices,
    now: Annotated[Number, Query()],
    before: Chosen[Number] = None,
    suite: Text = "",
) -> Response:
    """Show a map of two versions' embeddings, by default with the version's parent."""
    return _show(request, services, model, before, now, suite)


@router.post("", openapi_extra=needs(Role.CONTRIBUTOR))
async def order_map(
    model: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Order the job that embeds the images by both versions, and follow it."""
    fields = await read_form(request)
    before, now = (whole_field(fields, name) for name in ("before", "now"))

    def order() -> Response:
        try:
            job = order_comparison(
                services.platform,
                services.notifier,
                job_request(request, principal, None, None),
                model=model,
                version=now,
                baseline=before,
            )
        except PerennialError as refusal:
            return _show(request, services, model, before, now, "", refusal)
        return RedirectResponse(f"{PAGES}/jobs/{job.id}", 303)

    return await run_in_threadpool(order)


def _show(
    request: Request,
    services: Services,
    model: str,
    before: int | None,
    now: int,
    suite: str,
    refusal: PerennialError | None = None,
) -> Response:
    with services.platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        newer = work.versions.get(found.id, now)
        start = max(0, now - VERSIONS)
        numbers = work.versions.numbers(found.id, VERSIONS * 2, start)
    before = before or newer.parent or now
    context: dict[str, Any] = {"report": None, "maps": ()}
    try:
        _, report, maps = embedding_maps(services.platform, model, now, before)
        context = {"report": report, "maps": maps}
    except IndexReportNotFound:
        pass
    chosen = next((one for one in context["maps"] if suite in {"", one.suite}), None)
    return page(
        request,
        "embedding_map.html",
        model=found,
        before=before,
        now=now,
        numbers=numbers,
        chosen=chosen,
        plot=map_plot(chosen, before, now) if chosen else None,
        refusal=refusal,
        clock_now=services.platform.clock(),
        **context,
    )
