"""Traces: what a request and its job did, and for how long."""

from collections.abc import Mapping
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self


class SpanKind(StrEnum):
    """The kind of a span, as OpenTelemetry has it."""

    SERVER = "server"  # a request that was received
    CONSUMER = "consumer"  # a job that was claimed
    INTERNAL = "internal"  # a part of either


class Span(Protocol):
    """A piece of work with its times; what begins within its context is its child.

    Names and attributes hold no secrets, and nothing that people have named or written.
    """

    @property
    def context(self) -> str | None:
        """The span as a `traceparent` header names it, None without traces."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the span, as failed if an error leaves it."""

    def rename(self, name: str) -> None: ...

    def set_attributes(self, attributes: Mapping[str, str | int]) -> None: ...

    def fail(self, code: str) -> None: ...

    def end(self) -> None: ...


class Tracer(Protocol):
    """Begins spans, and sends those that have ended to a collector."""

    def begin(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, *, parent: str | None = None
    ) -> Span:
        """Begin a span, as a child of a `traceparent` if one is given and well formed."""

    def close(self) -> None: ...


class Untraced:
    """The tracer of a service without traces, and each of its spans."""

    context = None

    def begin(self, *_: object, **__: object) -> Span:
        """Return a span that is not recorded."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def rename(self, name: str) -> None: ...

    def set_attributes(self, attributes: Mapping[str, str | int]) -> None: ...

    def fail(self, code: str) -> None: ...

    def end(self) -> None: ...

    def close(self) -> None: ...
