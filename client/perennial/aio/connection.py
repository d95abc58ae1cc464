"""The connection to a service: requests, retries and pages."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from perennial.replies import error_of, json_of
from perennial.request_parts import (
    PAUSE_S,
    RETRIES,
    given,
    may_be_repeated,
    pause_before_repeating,
)


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
        return json_of(await self.send("GET", path, params=given(**query)))

    async def post(
        self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """POST a JSON body, or none, and return the JSON of the reply."""
        return json_of(await self.send("POST", path, json=body, headers=headers))

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
