"""Middleware that refuses ambiguous, slow and large bodies, and requests beyond a rate."""

import asyncio
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.bodies import ARCHIVE_TYPES, PART_TYPE, media_type_of
from api.http.problems import PATH as EMBEDDINGS
from api.http.problems import problem_of
from api.http.routing import OPEN_PATHS, PAGES, is_open
from api.rates import Rate, Rates
from core.errors import BodyTooLarge, Malformed, RateExceeded, RequestTimeout


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


_FILES = frozenset({*ARCHIVE_TYPES, PART_TYPE})  # types of bodies that may be large, as forms may


class BodySizeLimit:
    """Counts the bytes of a body as they arrive; reading past the cap raises BodyTooLarge."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_json_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_json_bytes = max_json_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        media_type = media_type_of(headers)
        has_files = media_type.startswith("multipart/") or media_type in _FILES
        cap = self.max_body_bytes if has_files else min(self.max_body_bytes, self.max_json_bytes)
        declared = headers.get("content-length", "")
        received = int(declared) if declared.isdigit() and int(declared) > cap else 0

        async def counted() -> Message:
            nonlocal received
            message = {"type": "http.request"} if received > cap else await receive()
            received += len(message.get("body", b""))
            if received > cap:
                raise BodyTooLarge(f"The body is larger than {cap:,} bytes.", cap=cap)
            return message

        await self.app(scope, counted, send)


UNLIMITED = OPEN_PATHS | {"/metrics"}  # what watches the service must not be refused
# POST to these only asks a model; `tests/api/http/test_rates.py` sees that none is missing.
_ASKING = re.compile(rf"/v1/models/[^/]+/(classify|embed)|{EMBEDDINGS}|{PAGES}/models/[^/]+/try")


def rate_of(method: str, path: str) -> Rate:
    """Return the rate that a request counts towards."""
    asks = method == "POST" and _ASKING.fullmatch(path)
    return Rate.INFERENCE if asks else Rate.REQUESTS


_MEANT = {Rate.REQUESTS: "requests", Rate.INFERENCE: "requests that ask a model"}


class RateLimit:
    """Refuses requests beyond a rate of their principal, before their bodies are read.

    Every reply to a request that counts says in its headers what is left.
    """

    def __init__(self, app: ASGIApp, *, rates: Rates) -> None:
        self.app = app
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in UNLIMITED or is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        rate = rate_of(scope["method"], scope["path"])
        left = await self.rates.take(scope["state"]["principal"].id, rate)
        if left is None:
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(left.headers)
            await send(message)

        if left.allowed:
            await self.app(scope, receive, with_headers)
            return
        refusal = RateExceeded(
            f"You may make {left.requests:,} {_MEANT[rate]} in {left.window_s} s: "
            f"try again in {left.reset_s} s.",
            retry_after_s=left.reset_s,
        )
        await problem_of(HTTPConnection(scope), refusal)(scope, receive, with_headers)
