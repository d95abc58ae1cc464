"""The page of a version: the verdict on it, its report, and what made it."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from api.dependencies import WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages import plots
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.pages.report_page import headline, render_report, style_policy
from api.pages.report_parts import gains, guarded
from api.schemas.common import VersionNumber
from core.domain.access.roles import Role
from core.domain.evaluation.report import Report
from core.domain.registry.version import Version
from core.errors import PerennialError
from core.ports import Platform
from core.use_cases.registry.reports import read_report

router = APIRouter(
    prefix=f"{PAGES}/models/{{model}}/versions/{{version}}",
    route_class=PageRoute,
    include_in_schema=False,
)

CLASSES = 40  # names of a list


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_version(
    model: str, version: VersionNumber, request: Request, services: WiredServices
) -> Response:
    """Show a version."""
    platform = services.platform
    with platform.transactions(read_only=True) as work:
        found = work.models.get(model)
        wanted = work.versions.get(found.id, version)
        aliases = [one for one in work.aliases.all(found.id) if one.version == version]
        job = work.jobs.get(wanted.job)
        dataset = work.datasets.get(wanted.dataset).name if wanted.dataset else None
    report, missing = _report(platform, wanted)
    return page(
        request,
        "version.html",
        model=found,
        version=wanted,
        aliases=aliases,
        job=job,
        dataset=dataset,
        report=report,
        missing=missing,
        headline=headline(report) if report else (),
        guarded=guarded(report) if report else (),
        gains=gains(report) if report else (),
        interval_plot=plots.interval_plot,
        shown=CLASSES,
        now=platform.clock(),
    )


@router.get("/report", openapi_extra=needs(Role.VIEWER))
def show_report(model: str, version: VersionNumber, services: WiredServices) -> Response:
    """Show the whole report, as one page that can be saved and sent."""
    with services.platform.transactions(read_only=True) as work:
        found = work.versions.get(work.models.get(model).id, version)
    report = read_report(services.platform.artifacts, found)
    headers = {"Content-Security-Policy": style_policy()}
    return HTMLResponse(render_report(report), headers=headers)


def _report(platform: Platform, version: Version) -> tuple[Report | None, str]:
    """Return a version's report, or why there is none."""
    try:
        return Report.from_json(read_report(platform.artifacts, version)), ""
    except PerennialError as error:
        return None, error.message
