"""Traces over OTLP."""

import atexit
from collections.abc import Mapping
from contextvars import Token
from threading import Thread
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.errors import Interruption, PerennialError
from core.tracing import Span, SpanKind

SEND_S = 2.0  # the longest attempt to reach the collector, and all attempts when the process ends
ERROR = "error.type"
_W3C = TraceContextTextMapPropagator()
_HEADER = "traceparent"


class OtlpTracer:
    """A tracer that sends spans to a collector over OTLP.

    The SDK's own variables hold too, such as OTEL_EXPORTER_OTLP_HEADERS and OTEL_TRACES_SAMPLER.
    Its global provider is left alone, so that no library adds spans that say more than ours.
    """

    def __init__(self, url: str, *, version: str) -> None:
        """Start the thread that sends; it opens nothing before the first span has ended.

        Raises ValueError or RuntimeError for a variable that the SDK refuses.
        """
        ours = Resource.create({SERVICE_NAME: "perennial", SERVICE_VERSION: version})
        about = ours.merge(OTELResourceDetector().detect())  # such as OTEL_SERVICE_NAME
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(url, timeout=SEND_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("perennial", version)
        atexit.register(self.close)

    def begin(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, *, parent: str | None = None
    ) -> Span:
        """Begin a span, as a child of `parent`, or else of the span within which this is called."""
        above = None if parent is None else _W3C.extract({_HEADER: parent}, Context())
        return OtlpSpan(self._tracer.start_span(name, above, kind=trace.SpanKind[kind.name]))

    def close(self) -> None:
        """Send what has ended; what the collector does not take in time is dropped."""
        atexit.unregister(self.close)
        # By itself the SDK would wait for half a minute while the collector answers byte by byte.
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(SEND_S)


class OtlpSpan:
    """A span of OpenTelemetry. Of an error it keeps the code alone: messages may hold names."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Token[Context] | None = None

    @property
    def context(self) -> str | None:
        """The span as a `traceparent`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return carrier.get(_HEADER)

    def __enter__(self) -> Self:
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            detach(self._token)
        if isinstance(error, Interruption):  # what it did until then was well done
            self.set_attributes({ERROR: error.code})
        elif error is not None:
            self.fail(error.code if isinstance(error, PerennialError) else type(error).__name__)
        self.end()

    def rename(self, name: str) -> None:
        """Give the span another name."""
        self._span.update_name(name)

    def set_attributes(self, attributes: Mapping[str, str | int]) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def fail(self, code: str) -> None:
        """Mark the span as failed."""
        self.set_attributes({ERROR: code})
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self) -> None:
        """End the span."""
        self._span.end()
