"""Spans as a real receiver gets them."""

import subprocess
import sys
from collections.abc import Iterator
from threading import Event

import pytest
from opentelemetry.sdk.trace import TracerProvider

from core import bootstrap, otlp
from core.errors import CancelRequested, ClassInvalid, UnsafeConfiguration
from core.otlp import OtlpTracer
from core.settings import Settings
from core.tracing import SpanKind, Untraced
from tests.support.places import ROOT
from tests.support.servers.collector import Collector


@pytest.fixture
def tracer(collector: Collector) -> Iterator[OtlpTracer]:
    shutdown = TracerProvider.shutdown  # as it is before a test replaces it
    tracer = OtlpTracer(collector.url, version="1.2")
    yield tracer
    # A thread that goes on sending draws random numbers, which Hypothesis reports in other tests.
    shutdown(tracer._provider)


def test_what_begins_within_a_span_is_its_child(collector: Collector, tracer: OtlpTracer) -> None:
    with tracer.begin("outer", SpanKind.SERVER) as outer:
        outer.set_attributes({"a": "one", "b": 2})
        inner = tracer.begin("inner")
        inner.end()
        context = outer.context
    tracer.begin("apart", SpanKind.CONSUMER, parent=context).end()
    tracer.begin("alone", parent="not a traceparent").end()
    tracer.begin("after").end()
    tracer.close()
    above, below = collector.named("outer"), collector.named("inner")
    assert above.attributes == {"a": "one", "b": 2, "service": "perennial"}
    assert (above.parent, below.parent, below.trace) == ("", above.id, above.trace)
    apart, alone = collector.named("apart"), collector.named("alone")
    assert context.startswith(above.context)
    assert (apart.parent, apart.trace) == (above.id, above.trace)
    assert alone.parent == collector.named("after").parent == ""
    assert alone.trace != above.trace
    assert [one.kind for one in (above, below, apart)] == [2, 1, 5]
    assert not any(span.failed for span in collector.spans)


def test_of_an_error_the_code_alone_is_sent(collector: Collector, tracer: OtlpTracer) -> None:
    for name, error in (
        ("refused", ClassInvalid("The class 'my secret' is no class.", name="my secret")),
        ("broken", RuntimeError("my secret")),
        ("stopped", CancelRequested()),
    ):
        with pytest.raises(type(error)), tracer.begin(name):
            raise error
    tracer.close()
    told = {
        span.name: (span.attributes["error.type"], span.failed, span.events)
        for span in collector.spans
    }
    assert told == {
        "refused": ("class_invalid", True, 0),
        "broken": ("RuntimeError", True, 0),
        "stopped": ("cancel_requested", False, 0),
    }
    assert b"my secret" not in collector.body


def test_a_process_sends_its_last_spans_when_it_ends_as_the_sdks_variables_say(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-worker")
    script = (
        "from core.otlp import OtlpTracer;"
        f"OtlpTracer({collector.url!r}, version='1.2').begin('last').end()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    assert [span.name for span in collector.spans] == ["last"]
    assert collector.named("last").attributes["service"] == "shop-worker"


def test_a_process_that_ends_waits_for_no_collector_that_does_not_come_to_an_end(
    tracer: OtlpTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, shut_down = Event(), []
    monkeypatch.setattr(otlp, "SEND_S", 0.1)
    monkeypatch.setattr(TracerProvider, "shutdown", lambda _: shut_down.append(ended.wait(60)))
    tracer.begin("last").end()
    tracer.close()
    assert not shut_down
    ended.set()


def test_a_variable_that_the_sdk_refuses_and_a_missing_extra_are_told_at_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced = Settings(traces_url="http://127.0.0.1:4318/v1/traces")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")  # less than a batch
    with pytest.raises(UnsafeConfiguration, match="OpenTelemetry refuses a variable"):
        bootstrap.tracer_of(traced)
    monkeypatch.setitem(sys.modules, "core.otlp", None)
    assert isinstance(bootstrap.tracer_of(Settings()), Untraced)
    with pytest.raises(UnsafeConfiguration, match="extra `traces`"):
        bootstrap.tracer_of(traced)
