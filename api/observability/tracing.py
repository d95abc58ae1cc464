"""Middleware that begins a trace with every request."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.observability.telemetry import METHODS, OTHER
from core.ports import SpanKind, Tracer

STATUS = "http.response.status_code"


class Tracing:
    """Begins a span for each request, within the caller's trace if it sent a `traceparent`.

    Its name has the route's template. Paths and queries are left out, because they may hold
    anything. The jobs that the request orders belong to the same trace.
    """

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self.app = app
        self.tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
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
