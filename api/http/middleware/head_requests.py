"""Middleware that answers HEAD wherever GET is answered."""

import anyio
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """Runs a HEAD request as the GET of its path, and sends its status and headers alone.

    The GET ends as soon as its headers are known, so that no file is read and no stream is waited
    for. A path with a HEAD operation of its own keeps it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or _has_own(scope):
            await self.app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}
        with anyio.CancelScope() as rest:

            async def send_head(message: Message) -> None:
                if message["type"] == "http.response.start":
                    await send(message)
                    await send({"type": "http.response.body"})
                    rest.cancel()

            await self.app(as_get, receive, send_head)
        if "route" in as_get:
            scope["route"] = as_get["route"]  # for the log


def _has_own(scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].router.routes)
