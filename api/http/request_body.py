"""How a request's body has to arrive."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import problem_of
from core.errors import Malformed, RequestTimeout

SLOWEST = 500  # bytes a second


class BodyArrival:
    """Refuses a body that tells two lengths, and one that stalls or drips.

    Where one server believes Content-Length and another the chunks, the rest of a body is read as
    a request that nobody sent (RFC 9112, 6.3). Reading a body raises RequestTimeout when its next
    piece takes longer than `seconds`, or when the waits for all its pieces have taken that much
    longer than the bytes received would have at SLOWEST.
    """

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "content-length" in headers and "transfer-encoding" in headers:
            error = Malformed("Send Content-Length or Transfer-Encoding, not both.")
            answer = problem_of(HTTPConnection(scope), error)
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            return
        whole, received, waited = False, 0, 0.0

        async def in_time() -> Message:
            nonlocal whole, received, waited
            if whole:  # what may come now is that the client has gone
                return await receive()
            began = time.monotonic()
            behind = waited - received / SLOWEST
            try:
                async with asyncio.timeout(self.seconds - max(0.0, behind)):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTimeout(
                    f"The body came too slowly: send a piece every {self.seconds:g} s at least, "
                    f"and {SLOWEST} bytes a second."
                ) from error
            waited += time.monotonic() - began
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return message

        await self.app(scope, in_time, send)
