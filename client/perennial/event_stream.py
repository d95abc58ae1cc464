# Written by `python -m devtools.sync_client` from perennial/aio/event_stream.py: change that.
"""The server-sent events of a job, which go on where their connection broke."""

import json
import time
from collections.abc import Iterable, Iterator

import httpx

from perennial.connection import Connection
from perennial.errors import ServiceError
from perennial.types.jobs import Event

TRIES = 6  # without an event
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
LAST = "done"


def stream_events(connection: Connection, path: str, after: int | None) -> Iterator[Event]:
    """Yield events after one of them, or all, as they happen, until the job has ended.

    Raises ServiceError, and httpx.TransportError if six connections in a row bring no event.
    """
    failed = 0
    while True:
        seen = {} if after is None else {"Last-Event-ID": str(after)}
        broken: Exception = httpx.RemoteProtocolError("The stream ended before the job.")
        try:
            headers = {"Accept": "text/event-stream", **seen}
            with connection.stream(path, headers=headers) as response:
                for kind, data in _events(response.iter_lines()):
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
        time.sleep(min(FIRST_PAUSE_S * 2**failed, LONGEST_PAUSE_S))


def _events(lines: Iterable[str]) -> Iterator[tuple[str, Event]]:
    """Yield the kinds and data of events; data is one line of JSON."""
    kind = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
