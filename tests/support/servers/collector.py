"""A real receiver of traces: an HTTP server in a thread, which reads OTLP's protobuf."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.servers.answering import QuietHandler, answering

PATH = "/v1/traces"


@dataclass(frozen=True, kw_only=True)
class Seen:
    name: str
    kind: int
    trace: str
    id: str
    parent: str  # "" for the first of a trace
    attributes: dict[str, Any]
    failed: bool
    events: int

    @property
    def context(self) -> str:
        """The beginning of a `traceparent` header that names it; flags follow."""
        return f"00-{self.trace}-{self.id}-"


@dataclass
class Collector:
    """The spans that arrived, and all bytes of the requests that brought them."""

    url: str = ""
    spans: list[Seen] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    body: bytes = b""

    def named(self, name: str) -> Seen:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect at a free port of this machine."""
    collector = Collector()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            assert self.path == PATH
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.body += body
            collector.headers.append({name.lower(): one for name, one in self.headers.items()})
            collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with answering(Handler) as url:
        collector.url = f"{url}{PATH}"
        yield collector


def _spans(request: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in request.resource_spans:
        about = _values(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    name=span.name,
                    kind=span.kind,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes=_values(span.attributes) | {"service": about["service.name"]},
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    events=len(span.events),
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
