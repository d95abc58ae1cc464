"""Middleware that holds each principal to a rate of requests."""

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.paths import OPEN_PATHS, is_open
from api.http.problems import problem_of
from api.rates import Rates
from core.errors import RateExceeded

UNLIMITED = OPEN_PATHS | {"/metrics"}  # what watches the service must not be refused


class RateLimit:
    """Refuses requests beyond the rate of their principal, before their bodies are read.

    Every reply to a request that counts says in its headers what is left.
    """

    def __init__(self, app: ASGIApp, *, rates: Rates) -> None:
        self.app = app
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_unlimited(scope["path"]):
            await self.app(scope, receive, send)
            return
        left = await self.rates.take(scope["state"]["principal"].id)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(left.headers)
            await send(message)

        if left.allowed:
            await self.app(scope, receive, with_headers)
            return
        refusal = RateExceeded(
            f"You may make {left.requests:,} requests in {left.window_s} s: "
            f"try again in {left.reset_s} s.",
            retry_after_s=left.reset_s,
        )
        await problem_of(HTTPConnection(scope), refusal)(scope, receive, with_headers)


def _is_unlimited(path: str) -> bool:
    return path in UNLIMITED or is_open(path)
