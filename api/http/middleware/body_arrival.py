"""Middleware that refuses ambiguous and slow request bodies."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import problem_of
from core.errors import Malformed, RequestTimeout


class BodyArrival:
    """Refuses a body with two lengths, and one that stalls or arrives too slowly.

    A request with both Content-Length and Transfer-Encoding is refused: if one server trusts the
    length and another the chunks, the rest of the body is taken for a second request (request
    smuggling; RFC 9112, 6.3). Reading a body raises RequestTimeout when its next piece takes
    longer than `seconds`, or when all waits together exceed the time that the received bytes take
    at `bytes_per_second` by more than `seconds`.
    """

    def __init__(self, app: ASGIApp, *, seconds: float, bytes_per_second: int) -> None:
        self.app = app
        self.seconds = seconds
        self.bytes_per_second = bytes_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:
            error = Malformed("Send Content-Length or Transfer-Encoding, not both.")
            response = problem_of(HTTPConnection(scope), error)
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        whole, received, waited = False, 0, 0.0

        async def timed_receive() -> Message:
            nonlocal whole, received, waited
            if whole:  # only a disconnect can follow
                return await receive()
            began = time.monotonic()
            behind = waited - received / self.bytes_per_second
            try:
                async with asyncio.timeout(self.seconds - max(0.0, behind)):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTimeout(
                    f"The body arrived too slowly: pause for at most {self.seconds:g} s and send "
                    f"at least {self.bytes_per_second} bytes a second."
                ) from error
            waited += time.monotonic() - began
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return message

        await self.app(scope, timed_receive, send)
