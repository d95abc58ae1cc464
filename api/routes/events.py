"""Route of a job's events, as a page or as a stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic.config import JsonDict
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from api.dependencies import Services, WiredServices
from api.http.content_negotiation import preferred
from api.http.required_role import needs
from api.http.threadpool_route import ThreadRoute
from api.openapi_document import raises
from api.schemas.common import AfterNumber, Limit, Page, number_after, page_of
from api.schemas.jobs import EventView
from core import errors
from core.domain.access.roles import Role
from core.domain.values import JobId

router = APIRouter(prefix="/v1/jobs/{job}/events", tags=["jobs"], route_class=ThreadRoute)

JSON, STREAM = "application/json", "text/event-stream"
POLL_EVERY_S = 0.5
KEEP_ALIVE_EVERY = 30  # polls without an event
BATCH = 200
LAST = "done"  # the kind of the last event that a worker adds to a job
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
    found, _ = await run_in_threadpool(_read_events, services, JobId(job), limit + 1, start)
    if wanted == STREAM:
        return StreamingResponse(_stream(services, JobId(job), start), media_type=STREAM)
    return page_of(found, limit, lambda event: event, lambda event: event.id)


def _read_events(
    services: Services, job: JobId, limit: int, after: int
) -> tuple[Sequence[EventView], bool]:
    """Return the events after a sequence number, and whether the job had ended before that read."""
    with services.platform.transactions(read_only=True) as work:
        done = work.jobs.get(job).status.done
        return [EventView.of(event) for event in work.jobs.events(job, limit, after)], done


async def _stream(services: Services, job: JobId, after: int) -> AsyncIterator[str]:
    quiet, last = 0, ""
    while True:
        found, done = await run_in_threadpool(_read_events, services, job, BATCH, after)
        for event in found:
            after, last = event.id, event.kind
            yield f"id: {event.id}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n"
        if done and not found:
            if last != LAST:
                yield f"event: {LAST}\ndata: {json.dumps({'job': job})}\n\n"
            return
        if found:
            quiet = 0
            continue
        quiet += 1
        if quiet % KEEP_ALIVE_EVERY == 0:
            yield ": beat\n\n"
        await asyncio.sleep(POLL_EVERY_S)
