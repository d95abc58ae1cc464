"""The server-sent events of a job, which go on where their connection broke."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator

import httpx

from perennial.aio.connection import Connection
from perennial.errors import ServiceError
from perennial.types.jobs import Event

TRIES = 6  # without an event
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
LAST = "done"


async def stream_events(
    connection: Connection, path: str, after: int | None
) -> AsyncIterator[Event]:
    """Yield events after one of them, or all, as they happen, until the job has ended.

    Raises ServiceError, and httpx.TransportError if six connections in a row bring no event.
    """
    failed = 0
    while True:
        seen = {} if after is None else {"Last-Event-ID": str(after)}
        broken: Exception = httpx.RemoteProtocolError("The stream ended before the job.")
        try:
            headers = {"Accept": "text/event-stream", **seen}
            async with connection.stream(path, headers=headers) as response:
                async for kind, data in _events(response.aiter_lines()):
                    if "id" in data:  # not the last one of a job that ended without a worker
                        after, failed = data["id"], 0
                        yield data
                    if kind == LAST:
                        return
        except (httpx.TransportError, ServiceError) as error:
            if isinstance(error, ServiceError) and error.status < 500:
                raise
            broken = error
        failed += 1
        if failed == TRIES:
            raise broken
        await asyncio.sleep(min(FIRST_PAUSE_S * 2**failed, LONGEST_PAUSE_S))


async def _events(lines: AsyncIterable[str]) -> AsyncIterator[tuple[str, Event]]:
    """Yield the kinds and data of events; data is one line of JSON."""
    kind = ""
    async for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
