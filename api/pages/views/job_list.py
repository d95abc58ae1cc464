"""The page of jobs, newest first."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import WiredServices
from api.http.paths import PAGES
from api.http.required_role import needs
from api.pages.browser.filters import Chosen, Text
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.schemas.common import After
from core.domain.access.roles import Role
from core.domain.jobs.job import JobStatus
from core.domain.jobs.order import JobType
from core.domain.values import JobId

router = APIRouter(route_class=PageRoute, include_in_schema=False)

JOBS = 40


@router.get(f"{PAGES}/jobs", openapi_extra=needs(Role.VIEWER))
def show_jobs(
    request: Request,
    services: WiredServices,
    model: Text = "",
    type: Chosen[JobType] = None,  # noqa: A002
    status: Chosen[JobStatus] = None,
    after: After = None,
) -> Response:
    """Show jobs; an empty field of the filter takes every job."""
    with services.platform.transactions(read_only=True) as work:
        rows = work.jobs.named_page(
            JOBS + 1,
            JobId(after) if after else None,
            model=work.models.get(model).id if model else None,
            job_type=type,
            status=status,
        )
    chosen = {"model": model, "type": type and type.value, "status": status and status.value}
    return page(
        request,
        "job_list.html",
        rows=rows[:JOBS],
        next=rows[JOBS - 1].job.id if len(rows) > JOBS else None,
        chosen={name: value for name, value in chosen.items() if value},
        types=[one.value for one in JobType],
        statuses=[one.value for one in JobStatus],
        now=services.platform.clock(),
    )
