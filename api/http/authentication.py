"""Authentication of requests by API keys, tokens and sessions, and notes of when keys are used."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from api.background_writer import BackgroundWriter
from api.http.lookups import SharedLookup
from api.http.problems import problem_of
from api.http.routing import is_open, is_page
from core.access.authenticate import find_secrets, find_sessions, holder_of
from core.access.rows import Keys
from core.access.rules import Secret
from core.errors import DatabaseUnavailable, FieldInvalid, NotFound, PerennialError, Unauthorised
from core.platform import Platform
from core.principal import Principal
from core.values import Digest, KeyId, sha256

SESSION_COOKIE = "perennial_session"
TOKENS_AT_A_TIME = 4  # of the 40 threads that all requests share


class KeyCheck:
    """Refuses requests without a valid API key, except on paths that are open to everyone.

    Pages take the cookie of a session instead, which nothing else takes. With an issuer, a valid
    token is as good as a key. Few tokens are checked at a time, so that an issuer that does not
    answer leaves threads to other requests. What answers for long asks `still_holds` of the
    request's state whether its secret lets the same principal in as before, with the same role and
    models.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        holders: "Holders",
        authenticate_token: Callable[[str], Principal] | None = None,
    ) -> None:
        self.app = app
        self.holders = holders
        self.authenticate_token = authenticate_token
        self.scrapers = KnownScrapers()
        self.checking = CapacityLimiter(TOKENS_AT_A_TIME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        try:
            scope["state"]["principal"] = holder = await self._principal(scope)
        except PerennialError as error:
            await problem_of(HTTPConnection(scope), error)(scope, receive, send)
            return

        async def still_holds() -> bool:
            try:
                return await self._principal(scope) == holder
            except PerennialError:
                return False

        scope["state"]["still_holds"] = still_holds
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
        holder = await self.holders.of_session(session) if session else None
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
        holder = await self.holders.of_key(secret)
        if holder is not None:
            return holder
        if self.authenticate_token is None:
            raise Unauthorised
        return await to_thread.run_sync(self.authenticate_token, secret, limiter=self.checking)


# Keys that may read metrics while the database, which holds them, does not respond.

PATH = "/metrics"
KNOWN_S = 300.0  # a key that was revoked since may read this process's metrics for so long
MOST = 16


class KnownScrapers:
    """Keys that have read metrics lately: that the database is down is itself a metric."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Digest, tuple[Principal, float]] = {}  # the one seen last at the end

    def remember(self, secret: str, holder: Principal) -> None:
        """Remember who has just read metrics, in the place of the one not seen for longest."""
        digest = sha256(secret.encode())
        self._known.pop(digest, None)
        self._known[digest] = (holder, self._clock())
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def find(self, secret: str) -> Principal | None:
        """Return who holds a key, if they have read metrics lately."""
        holder, at = self._known.get(sha256(secret.encode()), (None, 0.0))
        return holder if self._clock() - at < KNOWN_S else None


# Who holds keys and has opened sessions, and notes of when keys are used.

EVERY_S = 60.0
MAX_WAITING = 100_000  # keys


class KeyUses(BackgroundWriter[dict[KeyId, datetime]]):
    """Writes the last use of each key at most once a minute."""

    def __init__(self, platform: Platform) -> None:
        super().__init__("uses of keys", self._note_uses, every_s=EVERY_S, most=MAX_WAITING)
        self._platform = platform

    def note(self, key: KeyId) -> None:
        """Note that a key is used now."""
        self.add({key: self._platform.clock()})

    def _note_uses(self, uses: Mapping[KeyId, datetime]) -> None:
        with self._platform.transactions() as work:
            work[Keys].note_uses(uses)
            work.commit()


class Holders:
    """Finds who holds keys, and who has opened sessions.

    A rotation or a revocation holds from the next request on, as does the end of either's time.
    """

    def __init__(self, platform: Platform, uses: KeyUses) -> None:
        self._clock, self._uses = platform.clock, uses
        state = platform.transactions.commits.state
        self._secrets = SharedLookup(partial(find_secrets, platform), state)
        self._sessions = SharedLookup(partial(find_sessions, platform), state)

    async def of_key(self, secret: str) -> Principal | None:
        """Return who holds the key with this secret, None if it lets nobody in."""
        digest = sha256(secret.encode())
        found = await self._secrets.find(digest)
        return self._let_in(found) if found and found.lets_in(digest, self._clock()) else None

    async def of_session(self, session: str) -> Principal | None:
        """Return who has opened the session with this id, None if it lets nobody in."""
        found = await self._sessions.find(sha256(session.encode()))
        return self._let_in(found.secret) if found and found.lets_in(self._clock()) else None

    def close(self) -> None:
        """End the threads that look up, after the look-ups in progress."""
        self._secrets.close()
        self._sessions.close()

    def _let_in(self, secret: Secret) -> Principal:
        self._uses.note(secret.key.id)
        return holder_of(secret.key)
