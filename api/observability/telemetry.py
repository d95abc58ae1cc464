"""Middleware that logs and measures every request."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "OTHER"  # any other method
UNROUTED = "(none)"  # refused before routing, or an unknown path
ROUTINE = frozenset({"/healthz", "/readyz", "/metrics"})  # logged at debug level

log = logging.getLogger(__name__)


class Meter(Protocol):
    """Counter of requests."""

    def count(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `seconds` is the time to the first byte of its response."""


class Telemetry:
    """Logs and counts every request by its route's template.

    Paths and queries are left out, because they may hold anything. Seconds are measured to the
    first byte of the response, so that the length of an event stream or a download does not count.
    """

    def __init__(
        self, app: ASGIApp, *, meter: Meter, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.app = app
        self.meter = meter
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = self.clock()
        started: list[tuple[int, float]] = []

        async def timed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append((message["status"], self.clock() - began))
            await send(message)

        try:
            await self.app(scope, receive, timed_send)
        finally:
            status, seconds = started[0] if started else (500, self.clock() - began)
            self._record(scope, status, seconds)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        route = getattr(scope.get("route"), "path", UNROUTED)
        self.meter.count(method=method, route=route, status=status, seconds=seconds)
        facts = {"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
        log.log(logging.DEBUG if route in ROUTINE else logging.INFO, "request", extra=facts)
