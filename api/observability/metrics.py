"""Prometheus metrics: HTTP requests of this process, and the service's state in the database."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from api.observability.state_metrics import StateCollector
from core.ports import Platform

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


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
