"""One line and one measurement for each request."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNROUTED = "(none)"  # refused before a route was chosen, or no such path
ROUTINE = frozenset({"/healthz", "/readyz", "/metrics"})

log = logging.getLogger(__name__)


class Meter(Protocol):
    """Where requests are counted."""

    def count(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""


class Telemetry:
    """Tells of every request by its route's template: paths and queries may hold anything.

    The seconds are those until the first byte of the answer, so that an event stream or a
    download counts as fast as it began.
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
        answer: list[tuple[int, float]] = []

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.append((message["status"], self.clock() - began))
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            status, seconds = answer[0] if answer else (500, self.clock() - began)
            self._tell(scope, status, seconds)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = getattr(scope.get("route"), "path", UNROUTED)
        self.meter.count(method=method, route=route, status=status, seconds=seconds)
        facts = {"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
        log.log(logging.DEBUG if route in ROUTINE else logging.INFO, "request", extra=facts)
