"""Middleware that authenticates each request by its API key, token or session."""

from collections.abc import Callable
from dataclasses import replace

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.authentication.known_scrapers import PATH, KnownScrapers
from api.http.lookups.shared_lookup import SharedLookup
from api.http.paths import is_open, is_page
from api.http.problems import problem_of
from core.domain.access.principal import Principal
from core.errors import DatabaseUnavailable, FieldInvalid, NotFound, PerennialError, Unauthorised

SESSION_COOKIE = "perennial_session"
TOKENS_AT_A_TIME = 4  # of the 40 threads that all requests share


class KeyCheck:
    """Refuses requests without a valid API key, except on paths that are open to everyone.

    Pages take the cookie of a session instead, which nothing else takes. `keys` and `sessions`
    look up the principals of those secrets and ids that let anyone in, and are closed by whoever
    made them. With an issuer, a valid token is as good as a key. Few tokens are checked at a time,
    so that an issuer that does not answer leaves threads to other requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: SharedLookup[str, Principal],
        sessions: SharedLookup[str, Principal],
        authenticate_token: Callable[[str], Principal] | None = None,
    ) -> None:
        self.app = app
        self.keys = keys
        self.sessions = sessions
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
