"""The connection to a service: requests, retries, pages, downloads and event streams."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import httpx

from perennial.errors import JobFailed, ServiceError
from perennial.requests import (
    PAUSE_S,
    RETRIES,
    error_of,
    given,
    json_of,
    may_be_repeated,
    opened,
    pause_before_repeating,
    query_of,
)
from perennial.types import Event, Job

# Work that blocks, such as on files: in a thread beside the event loop, or at once without one.

T = TypeVar("T")
CHUNK_BYTES = 64 * 1024
_END = object()


async def in_thread(work: Callable[[], T]) -> T:
    """Return what a function returns that blocks."""
    return await asyncio.to_thread(work)


async def drawn(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items whose making blocks."""
    source = iter(items)
    while (item := await in_thread(lambda: next(source, _END))) is not _END:
        yield cast(T, item)


@asynccontextmanager
async def entered(context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter a context whose entry blocks."""
    found = await in_thread(context.__enter__)
    try:
        yield found
    finally:
        context.__exit__(None, None, None)


async def content_of(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the rest of a file, as httpx takes it."""
    while chunk := await in_thread(lambda: file.read(CHUNK_BYTES)):
        yield chunk


# Requests.


class Connection:
    """Sends requests and raises ServiceError for replies that report an error."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Send a request and return the reply, which is a success or a 304.

        A GET, and an order that has an Idempotency-Key, is sent again, twice at most: after the
        seconds that a 429 or 503 names, if they are few, and when its connection breaks, but not
        when a reply takes too long. Raises ServiceError, and httpx.TransportError when there is no
        reply.
        """
        left = RETRIES if may_be_repeated(method, sent) else 0
        while True:
            try:
                response = await self._http.request(method, path, **sent)
                pause = pause_before_repeating(response)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                if not left:
                    raise
                pause = PAUSE_S
            if not left or pause is None:
                break
            await asyncio.sleep(pause)
            left -= 1
        if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
            return response
        raise error_of(response)

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at a path; query parameters that are None are left out."""
        return json_of(await self.send("GET", path, params=query_of(**query)))

    async def post(
        self,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Any:
        """POST a JSON body, or none, and return the JSON of the reply.

        Query parameters that are None are left out.
        """
        sent = {"json": body, "headers": headers, "params": given(**query)}
        return json_of(await self.send("POST", path, **sent))

    async def post_file(
        self, path: str, source: Path, *, headers: Mapping[str, str], **query: Any
    ) -> Any:
        """POST a file, or a folder as a tar, and return the JSON of the reply. Raises OSError."""
        async with entered(opened(source)) as file:
            length = {"Content-Length": str(file.seek(0, os.SEEK_END))}
            file.seek(0)
            sent = {"content": content_of(file), "headers": {**headers, **length}}
            return json_of(await self.send("POST", path, params=given(**query), **sent))

    async def patch(self, path: str, body: Any) -> Any:
        """PATCH with a JSON body and return the JSON of the reply."""
        return json_of(await self.send("PATCH", path, json=body))

    async def delete(
        self, path: str, *, headers: Mapping[str, str] | None = None, **query: Any
    ) -> None:
        """DELETE a path; query parameters that are None are left out."""
        await self.send("DELETE", path, params=given(**query), headers=headers)

    async def pages(self, path: str, **query: Any) -> AsyncIterator[Any]:
        """Yield the items of a list, whose pages are fetched as they are needed.

        Query parameters that are None are left out.
        """
        while True:
            page = await self.get(path, **query)
            for item in page["data"]:
                yield item
            if not page["has_more"]:
                return
            query["after"] = page["next"]

    @asynccontextmanager
    async def stream(
        self, path: str, *, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """GET a path and yield the reply, whose body is read within the context."""
        async with self._http.stream("GET", path, headers=headers) as response:
            if not response.is_success:
                await response.aread()
                raise error_of(response)
            yield response


class Resource:
    """A group of verbs, whose requests one connection sends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


# Downloads that go on where they were interrupted.


async def download(
    connection: Connection,
    path: str,
    *,
    digest: str,
    to: Path,
    on_bytes: Callable[[int, int], object] | None,
) -> Path:
    """Write the file at `path` to `to`, which appears once it is whole.

    Until then the bytes are in a file beside it that is named by `digest`, the file's ETag. A
    later call asks only for the bytes that are missing, and for the last one that is there: a
    range always has one byte at least.
    """
    part = to.with_name(f"{to.name}.{digest[:16]}.part")
    part.touch()
    start = max(0, part.stat().st_size - 1)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": f'"{digest}"'}
    async with (
        connection.stream(path, headers=headers) as response,
        entered(part.open("r+b")) as file,
    ):
        if response.status_code != 206:  # the whole file
            start = 0
        file.truncate(start)
        file.seek(start)
        total = start + int(response.headers.get("Content-Length", 0))
        async for piece in response.aiter_raw():
            await in_thread(partial(file.write, piece))
            if on_bytes is not None:
                on_bytes(file.tell(), total)
    return part.replace(to)


# The server-sent events of a job, which go on where their connection broke.

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


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Event]]:
    """Yield the kinds and data of events; data is one line of JSON."""
    kind = ""
    async for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


# Waiting for the end of a job.


async def wait_until_done(
    read: Callable[[], Awaitable[Job]],
    on_poll: Callable[[Job], object] | None,
    *,
    every: float,
    timeout: float | None,
) -> Job:
    """Read a job every so many seconds until it is done. Raises JobFailed and TimeoutError."""
    started = time.monotonic()
    while True:
        job = await read()
        if on_poll is not None:
            on_poll(job)
        if job["status"] == "succeeded":
            return job
        if job["done"]:
            raise JobFailed(job)
        if timeout is not None and time.monotonic() - started > timeout:
            raise TimeoutError(f"Job {job['id']} is {job['status']} after {timeout:g} s.")
        await asyncio.sleep(every)
