"""Route of a job's events, as a page or as a stream."""

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic.config import JsonDict
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from api.dependencies import WiredServices
from api.http.content_negotiation import preferred
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.job_events import STREAM, read_events, stream_events
from api.openapi_document import raises
from api.schemas.common import AfterNumber, Limit, Page, number_after, page_of
from api.schemas.jobs.jobs import EventView
from core import errors
from core.domain.access.roles import Role
from core.domain.values import JobId

router = APIRouter(prefix="/v1/jobs/{job}/events", tags=["jobs"], route_class=ThreadRoute)

JSON = "application/json"
_SEEN: JsonDict = {"pattern": "^[0-9]{0,9}$"}  # empty: no event yet, as browsers may send
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {STREAM: {"schema": {"type": "string"}}}},
    **raises(errors.JobNotFound, errors.NotAcceptable),
}


@router.get(
    "", responses=_ANSWERS, response_model=Page[EventView], openapi_extra=needs(Role.VIEWER)
)
async def list_job_events(
    job: str,
    services: WiredServices,
    limit: Limit = 50,
    after: AfterNumber = None,
    accept: Annotated[str | None, Header()] = None,
    last_event_id: Annotated[str, Header(alias="Last-Event-ID", json_schema_extra=_SEEN)] = "",
) -> Page[EventView] | Response:
    """List a job's events, oldest first: a JSON page, or server-sent events until the job ends."""
    asked = number_after(after)
    start = number_after(last_event_id) if last_event_id else asked
    wanted = preferred(accept, (JSON, STREAM))
    found, _ = await run_in_threadpool(read_events, services, JobId(job), limit + 1, start)
    if wanted == STREAM:
        return StreamingResponse(stream_events(services, JobId(job), start), media_type=STREAM)
    return page_of(found, limit, lambda event: event, lambda event: event.id)
