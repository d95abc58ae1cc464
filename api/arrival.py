"""How a request's body has to arrive."""

import asyncio

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem_of
from core.errors import Malformed, RequestTimeout


class BodyArrival:
    """Refuses a body that tells two lengths, and one whose next piece does not come in time.

    Where one server believes Content-Length and another the chunks, the rest of a body is read as
    a request that nobody sent (RFC 9112, 6.3). Reading a body that stalls raises RequestTimeout.
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
        whole = False

        async def in_time() -> Message:
            nonlocal whole
            if whole:  # what may come now is that the client has gone
                return await receive()
            try:
                async with asyncio.timeout(self.seconds):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTimeout("The next piece of the body did not come in time.") from error
            whole = not message.get("more_body", False)
            return message

        await self.app(scope, in_time, send)
