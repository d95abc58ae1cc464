"""Streaming parser of multipart forms."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from api.http.declared_route import FORM
from core.errors import MalformedMultipart, TooManyParts, UnsupportedMediaType
from core.settings import Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_HEADER_BYTES = 16 * 1024  # file names may be long

# Form fields escape quotes, line breaks and, from some clients, all control characters.
_ESCAPED = re.compile(r"%(0[0-9A-F]|1[0-9A-F]|22)")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A complete part of a form; `data` is empty when the part exceeded the cap."""

    name: str
    file_name: str | None  # None: a text field
    data: bytes
    too_large: bool


async def read_parts(request: Request, settings: Settings) -> AsyncIterator[Part]:
    """Yield the parts of a form, each as soon as its last byte has arrived.

    At most one part is held in memory. Raises UnsupportedMediaType, MalformedMultipart,
    TooManyParts, and BodyTooLarge from the middleware that counts the bytes.
    """
    collector = _Collector(settings)
    parser = MultipartParser(
        _boundary(request), collector.callbacks(), max_header_size=MAX_HEADER_BYTES
    )
    async for chunk in request.stream():
        try:
            parser.write(chunk)
        except MultipartParseError as error:
            raise MalformedMultipart from error
        for part in collector.take():
            yield part
    if not collector.ended:
        raise MalformedMultipart("The form ends before its closing boundary.")


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != FORM.encode():
        raise UnsupportedMediaType(f"Send a form with Content-Type: {FORM}.")
    if not 0 < len(boundary) <= 200:
        raise MalformedMultipart(f"{FORM} needs a boundary of at most 200 characters.")
    return boundary


class _Collector:
    """Collects the parser's callbacks into parts."""

    def __init__(self, settings: Settings) -> None:
        self.ended = False
        self._max_parts = settings.max_parts
        self._max_bytes = settings.max_file_bytes
        self._count = 0
        self._complete: list[Part] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def take(self) -> list[Part]:
        complete, self._complete = self._complete, []
        return complete

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._max_parts:
            raise TooManyParts(f"A form may have at most {self._max_parts:,} parts.")
        self._field, self._value = b"", b""
        self._disposition = b""
        self._bytes = bytearray()
        self._too_large = False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if len(self._bytes) + end - start > self._max_bytes:
            self._too_large = True
            self._bytes.clear()
        if not self._too_large:
            self._bytes += data[start:end]

    def _end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise MalformedMultipart("A part has no name.")
        file_name = options.get(b"filename")
        self._complete.append(
            Part(
                name=_text(options[b"name"]),
                file_name=None if file_name is None else _text(file_name),
                data=bytes(self._bytes),
                too_large=self._too_large,
            )
        )

    def _finish(self) -> None:
        self.ended = True


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise MalformedMultipart("Names in a form must be UTF-8.") from error
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
