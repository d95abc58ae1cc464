"""Middleware that gives each request an id and each response the security headers."""

import random
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import logs

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_SECURITY_LINES = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def fresh_request_id() -> str:
    """Return a new id for a request that was sent without one."""
    return f"req_{random.getrandbits(96):024x}"


class RequestIds:
    """Gives each request an id (the client's, if it is well formed) and security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else fresh_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        logs.bind(request_id=request_id)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                lines = list(message["headers"])
                there = {name for name, _ in lines}
                lines += [line for line in _SECURITY_LINES if line[0] not in there]
                message["headers"] = [*lines, (b"x-request-id", request_id.encode())]
            await send(message)

        await self.app(scope, receive, with_headers)
