"""The events of a job: read once, or streamed until it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from starlette.concurrency import run_in_threadpool

from api.dependencies import Services
from api.schemas.jobs.jobs import EventView
from core.domain.values import JobId

STREAM = "text/event-stream"
POLL_EVERY_S = 0.5
KEEP_ALIVE_EVERY = 30  # polls without an event
BATCH = 200
LAST = "done"  # the kind of the last event that a worker adds to a job


def read_events(
    services: Services, job: JobId, limit: int, after: int
) -> tuple[Sequence[EventView], bool]:
    """Return the events after a sequence number, and whether the job had ended before that read.

    Raises JobNotFound.
    """
    with services.platform.transactions(read_only=True) as work:
        done = work.jobs.get(job).status.done
        return [EventView.of(event) for event in work.jobs.events(job, limit, after)], done


async def stream_events(services: Services, job: JobId, after: int) -> AsyncIterator[str]:
    """Yield the events after a sequence number as server-sent events, until the job ends."""
    quiet, last = 0, ""
    while True:
        found, done = await run_in_threadpool(read_events, services, job, BATCH, after)
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
