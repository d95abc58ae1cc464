"""The page of a job: its progress while it runs, the curves of its loss, and its events."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response, StreamingResponse

from api.dependencies import CurrentPrincipal, Services, WiredServices, job_request
from api.http.paths import PAGES
from api.http.required_role import needs
from api.job_events import STREAM, read_events, stream_events
from api.pages.browser.forms import read_form
from api.pages.browser.page_route import PageRoute
from api.pages.browser.rendering import page
from api.pages.figures.loss_plot import loss_curves
from api.pages.views.job_list import outcomes_of
from api.schemas.common import AfterNumber, number_after
from core.domain.access.roles import Role
from core.domain.jobs.event import EventKind
from core.domain.jobs.job import JobStatus
from core.domain.values import JobId
from core.use_cases.jobs.queue import cancel_job
from core.use_cases.retry_job import retry_job

router = APIRouter(prefix=f"{PAGES}/jobs/{{job}}", route_class=PageRoute, include_in_schema=False)

EVENTS = 60  # of the list, newest
POINTS = 300  # of a curve
_PLACE = ("phase", "step", "total")

LastEventId = Annotated[str, Header(alias="Last-Event-ID", pattern="^[0-9]{0,9}$")]


@router.get("", openapi_extra=needs(Role.VIEWER))
def show_job(job: str, request: Request, services: WiredServices) -> Response:
    """Show a job."""
    return page(request, "job.html", **_read(services, JobId(job)))


@router.get("/panel", openapi_extra=needs(Role.VIEWER))
def show_panel(job: str, request: Request, services: WiredServices) -> Response:
    """Show the part of the page that changes while a job runs."""
    return page(request, "job_panel.html", **_read(services, JobId(job)))


@router.get("/events", openapi_extra=needs(Role.VIEWER))
async def follow_job(
    job: str,
    services: WiredServices,
    after: AfterNumber = None,
    last_event_id: LastEventId = "",
) -> Response:
    """Stream the events of a job until it ends."""
    start = number_after(last_event_id) if last_event_id else number_after(after)
    await run_in_threadpool(read_events, services, JobId(job), 1, start)
    return StreamingResponse(stream_events(services, JobId(job), start), media_type=STREAM)


@router.post("/cancel", openapi_extra=needs(Role.CONTRIBUTOR))
async def stop_job(job: str, request: Request, services: WiredServices) -> Response:
    """Cancel a job: at once if it is queued, at its next step if it runs."""
    await read_form(request)
    await run_in_threadpool(cancel_job, services.platform, JobId(job))
    return RedirectResponse(f"{PAGES}/jobs/{job}", 303)


@router.post("/retry", openapi_extra=needs(Role.CONTRIBUTOR))
async def order_job_again(
    job: str, request: Request, services: WiredServices, principal: CurrentPrincipal
) -> Response:
    """Order a failed or cancelled job again, and show the new one."""
    await read_form(request)
    ordered_by = job_request(request, principal, None, None)
    again = await run_in_threadpool(
        retry_job, services.platform, services.notifier, ordered_by, JobId(job)
    )
    return RedirectResponse(f"{PAGES}/jobs/{again.id}", 303)


def _read(services: Services, job: JobId) -> dict[str, Any]:
    with services.platform.transactions(read_only=True) as work:
        named = work.jobs.named(job)
        events = work.jobs.newest_events(job, EVENTS)
        sampled = work.jobs.sampled_events(job, EventKind.PROGRESS, POINTS)
        (outcome,) = outcomes_of(work, [named])
    status = named.job.status
    return {
        "named": named,
        "job": named.job,
        "outcome": outcome,
        "events": [(event, _told(event.data)) for event in events],
        "last": events[0].sequence if events else 0,
        "kinds": " ".join(EventKind),
        "curves": loss_curves(sampled),
        "again": status in {JobStatus.FAILED, JobStatus.CANCELLED},
        "cancellable": status in {JobStatus.QUEUED, JobStatus.RUNNING},
        "now": services.platform.clock(),
    }


def _told(data: Mapping[str, Any]) -> str:
    """Return what an event says in a line."""
    found = []
    if "phase" in data:
        total = data.get("total")
        found.append(f"{data['phase']}, {data['step']:,} of {total:,}" if total else data["phase"])
    rest = {name: value for name, value in data.items() if name not in _PLACE}
    return " · ".join([*found, *(f"{name} {_value(value)}" for name, value in rest.items())])


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=str)[:300]
