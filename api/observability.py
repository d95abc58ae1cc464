"""Metrics, logs and traces of requests."""

import logging
import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.state_metrics import StateCollector
from core.platform import Platform
from core.tracing import SpanKind, Tracer

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "OTHER"  # any other method
UNROUTED = "(none)"  # refused before routing, or an unknown path
ROUTINE = frozenset({"/healthz", "/readyz", "/metrics"})  # logged at debug level
STATUS = "http.response.status_code"
ERROR_CODE = "error_code"  # in the state of a request that was refused

log = logging.getLogger(__name__)


class Metrics:
    """The metrics of one API process, in their own registry."""

    def __init__(self, platform: Platform) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "perennial_http_requests",
            "Requests by method, route template and status.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "perennial_http_request_seconds",
            "Seconds until the first byte of the response.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(StateCollector(platform))

    def count(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request; `seconds` is the time to the first byte of its response."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format 0.0.4; reads the database."""
        return generate_latest(self._registry)


class Telemetry:
    """Logs and counts every request by its route's template.

    Paths and queries are left out, because they may hold anything. Seconds are measured to the
    first byte of the response, so that the length of an event stream or a download does not count.
    """

    def __init__(self, app: ASGIApp, *, meter: Metrics) -> None:
        self.app = app
        self.meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        started: list[tuple[int, float]] = []

        async def timed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append((message["status"], time.perf_counter() - began))
            await send(message)

        try:
            await self.app(scope, receive, timed_send)
        finally:
            status, seconds = started[0] if started else (500, time.perf_counter() - began)
            self._record(scope, status, seconds)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        route = getattr(scope.get("route"), "path", UNROUTED)
        self.meter.count(method=method, route=route, status=status, seconds=seconds)
        facts = {"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
        if code := scope.get("state", {}).get(ERROR_CODE):
            facts["code"] = code
        log.log(logging.DEBUG if route in ROUTINE else logging.INFO, "request", extra=facts)


class Tracing:
    """Begins a span for each request, within the caller's trace if it sent a `traceparent`.

    Its name has the route's template. Paths and queries are left out, because they may hold
    anything. The jobs that the request orders belong to the same trace.
    """

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self.app = app
        self.tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["method"] in METHODS else OTHER
        parent = Headers(scope=scope).get("traceparent")
        with self.tracer.begin(method, SpanKind.SERVER, parent=parent) as span:
            scope["state"]["trace"] = span.context
            span.set_attributes(
                {
                    "http.request.method": method,
                    "perennial.request": scope["state"]["request_id"],
                    STATUS: 500,  # unless a response starts
                }
            )

            async def marked_send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attributes({STATUS: message["status"]})
                    if message["status"] >= 500:
                        span.fail(str(message["status"]))
                await send(message)

            try:
                await self.app(scope, receive, marked_send)
            finally:
                if route := getattr(scope.get("route"), "path", None):
                    span.rename(f"{method} {route}")
                    span.set_attributes({"http.route": route})
