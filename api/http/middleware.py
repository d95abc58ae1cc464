"""Middleware of every answer: ids, headers, cookies, HEAD, CORS, compression and entity tags."""

import random
import re
from collections.abc import Collection

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.answers import matches_etag
from api.http.problems import problem_of
from core import logs
from core.errors import Forbidden
from core.values import sha256

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


class Layer:
    """Middleware around an app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app


class RequestIds(Layer):
    """Gives each request an id (the client's, if it is well formed) and security headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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


def fresh_request_id() -> str:
    """Return a new id for a request that was sent without one."""
    return f"req_{random.getrandbits(96):024x}"


class PlainCookies(Layer):
    """Leaves out cookies with a backslash, which none of this service has.

    The framework reads the cookies of every request, and takes the escapes of quoted ones back.
    Until Python 3.11.10 and 3.12.6 that takes time that grows with the square of their length
    (CVE-2024-7592): seconds for a header of 40 kB, in which nobody else is answered.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cookies = [value for name, value in scope["headers"] if name == b"cookie"]
        if any(b"\\" in value for value in cookies):
            scope["headers"] = [
                (name, _plain(value) if name == b"cookie" else value)
                for name, value in scope["headers"]
            ]
        await self.app(scope, receive, send)


def _plain(cookies: bytes) -> bytes:
    return b";".join(cookie for cookie in cookies.split(b";") if b"\\" not in cookie)


# Headers that hold a list.

LISTS = (b"accept", b"if-match", b"if-none-match")


class HeaderLists(Layer):
    """Joins repeated lines of a header that holds a list into one list (RFC 9110, 5.3)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = [name for name, _ in scope["headers"]]
        for wanted in LISTS:
            if names.count(wanted) > 1:
                lines = [value for name, value in scope["headers"] if name == wanted]
                others = [line for line in scope["headers"] if line[0] != wanted]
                scope["headers"] = [*others, (wanted, b", ".join(lines))]
        await self.app(scope, receive, send)


# HEAD wherever GET is answered.


class HeadRequests(Layer):
    """Runs a HEAD request as the GET of its path, and sends its status and headers alone.

    The GET ends as soon as its headers are known, so that no file is read and no stream is waited
    for. A path with a HEAD operation of its own keeps it.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "HEAD" or _has_own(scope):
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


# Requests from pages of other origins (CORS).

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

REQUEST_HEADERS = (
    "Authorization",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Range",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-Request-Id",
)

RESPONSE_HEADERS = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Tus-Resumable",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Offset",
    "X-Request-Id",
)


class CrossOrigin(CORSMiddleware):
    """Lets pages of these origins read answers.

    Cookies are never allowed: a page sends an API key, which it must have from its user.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
            allow_credentials=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight request, with a problem document if it is refused."""
        if _is_preflight(scope):
            response: Response = self.preflight_response(Headers(scope=scope))
            if response.status_code != 200:
                refusal = problem_of(HTTPConnection(scope), Forbidden(_text(response)))
                refusal.headers["Vary"] = response.headers["Vary"]
                response = refusal
            await response(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def _is_preflight(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return (
        scope["method"] == "OPTIONS"
        and "origin" in headers
        and "access-control-request-method" in headers
    )


def _text(response: Response) -> str:
    refused = bytes(response.body).decode().removeprefix("Disallowed CORS ")
    return f"The service refuses this request from another origin because of its {refused}."


# Compression of documents with gzip, if the client accepts it.

LEAST_BYTES = 1024
LEVEL = 1  # of 9, as in nginx: higher ones take much longer and save little

# Downloads, of which ranges can be requested; events, which must not wait for each other; images,
# which are compressed already. Of this service's answers alone: the middleware prepares the list
# anew for each request.
EXCLUDED = (
    "application/octet-stream",
    "application/x-tar",
    "image/png",
    "image/webp",
    "text/event-stream",
)


# Entity tags of documents, and 304 for clients that have them.

TAGGED = ("application/json", "text/html", "text/csv", "image/svg+xml")


class EntityTags(Layer):
    """Gives the answer to a GET that is sent in one piece a weak ETag, made from its bytes.

    An ETag that the route has set is kept. The answer is 304, without a body, if If-None-Match
    has the tag.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_document(message):
                start = message  # held until its body is sent
                return
            if start is not None:
                held, start = start, None
                if not message.get("more_body", False):
                    message = _tag(scope, held, message)
                await send(held)
            await send(message)

        await self.app(scope, receive, send_tagged)


def _is_document(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    media_type = headers.get("content-type", "").partition(";")[0]
    return start["status"] == 200 and media_type in TAGGED


def _tag(scope: Scope, start: Message, body: Message) -> Message:
    """Add the tag to the head of a response; return the body, which is empty for a 304."""
    headers = MutableHeaders(scope=start)
    tag = headers.setdefault("ETag", f'W/"{sha256(body["body"])[:32]}"')
    if not matches_etag(Headers(scope=scope).get("if-none-match"), tag.removeprefix("W/")):
        return body
    start["status"] = 304
    del headers["content-length"]
    del headers["content-type"]
    return {**body, "body": b""}
