"""Middleware for request ids, security headers, size limits, API keys and tokens."""

import random
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.bodies.archive_body import ARCHIVE_TYPES, PART_TYPE, media_type_of
from api.http.known_scrapers import PATH, KnownScrapers
from api.http.lookups.shared_lookup import SharedLookup
from api.http.paths import is_open, is_page
from api.http.problems import problem_of
from core import logs
from core.domain.access.principal import Principal
from core.errors import (
    BodyTooLarge,
    DatabaseUnavailable,
    FieldInvalid,
    NotFound,
    PerennialError,
    Unauthorised,
)

SESSION_COOKIE = "perennial_session"
TOKENS_AT_A_TIME = 4  # of the 40 threads that all requests share
_FILES = frozenset({*ARCHIVE_TYPES, PART_TYPE})  # types of bodies that may be large, as forms may
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


class BodySizeLimit:
    """Counts the bytes of a body as they arrive; reading past the cap raises BodyTooLarge."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, max_json_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.max_json_bytes = max_json_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
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


class KeyCheck:
    """Refuses requests without a valid API key, except on paths that are open to everyone.

    Pages take the cookie of a session instead, which nothing else takes. `authenticate` and
    `authenticate_sessions` return the principals of those secrets and ids that let anyone in; they
    are called for all requests that wait for them at once. With an issuer, a valid token is as
    good as a key. Few tokens are checked at a time, so that an issuer that does not answer leaves
    threads to other requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticate: Callable[[Collection[str]], Mapping[str, Principal]],
        authenticate_sessions: Callable[[Collection[str]], Mapping[str, Principal]],
        authenticate_token: Callable[[str], Principal] | None = None,
    ) -> None:
        self.app = app
        self.keys = SharedLookup(authenticate)
        self.sessions = SharedLookup(authenticate_sessions)
        self.authenticate_token = authenticate_token
        self.scrapers = KnownScrapers()
        self.checking = CapacityLimiter(TOKENS_AT_A_TIME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        try:
            scope["state"]["principal"] = await self._principal(scope)
        except PerennialError as error:
            await problem_of(HTTPConnection(scope), error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _principal(self, scope: Scope) -> Principal:
        principal = await (self._browser(scope) if is_page(scope["path"]) else self._caller(scope))
        if not scope["path"].isprintable():
            raise NotFound
        if b"%00" in scope["query_string"]:
            raise FieldInvalid("A query must not contain NUL.", pointer="#query")
        state = scope["state"]
        return replace(principal, request_id=state["request_id"], trace=state.get("trace"))

    async def _browser(self, scope: Scope) -> Principal:
        session = HTTPConnection(scope).cookies.get(SESSION_COOKIE, "")
        holder = await self.sessions.find(session) if session else None
        if holder is None:
            raise Unauthorised
        scope["state"]["session"] = session
        return holder

    async def _caller(self, scope: Scope) -> Principal:
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorised
        if scope["path"] == PATH:
            return await self._scraper(key.strip())
        return await self._holder(key.strip())

    async def _scraper(self, secret: str) -> Principal:
        try:
            holder = await self._holder(secret)
        except DatabaseUnavailable:
            known = self.scrapers.find(secret)
            if known is None:
                raise
            return known
        self.scrapers.remember(secret, holder)
        return holder

    async def _holder(self, secret: str) -> Principal:
        holder = await self.keys.find(secret)
        if holder is not None:
            return holder
        if self.authenticate_token is None:
            raise Unauthorised
        return await to_thread.run_sync(self.authenticate_token, secret, limiter=self.checking)
