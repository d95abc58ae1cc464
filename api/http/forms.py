"""Forms with files, each of which is processed while the next one arrives."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from api.dependencies import Services
from api.http.routing import FORM
from core import errors
from core.artifacts.store import ArtifactBatch
from core.datasets.receive import require_quota
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind
from core.datasets.uploads import Upload, receive_file, require_room
from core.settings import Settings
from core.values import clean_file_label, sha256

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Files being processed at once; the next waits, which slows the client down. Two are decoded while
# others are stored or wait, so that no decoder is idle. Of the largest files only two.
IN_FLIGHT = 4
LARGEST_IN_FLIGHT = 2

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A complete part of a form; `data` is empty when the part exceeded the cap."""

    name: str
    file_name: str | None  # None: a text field
    data: bytes
    too_large: bool


@dataclass(kw_only=True)
class Form(Generic[T]):
    """A received form: its text fields, and the result for each file in the order sent."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[T] = field(default_factory=list)
    fingerprint: list[Sequence[str | None]] = field(default_factory=list)  # without the boundary


async def receive_form(
    request: Request,
    services: Services,
    work: Callable[[Part], T],
    *,
    fields: Sequence[str] = (),
) -> Form[T]:
    """Read a form as it arrives, and call `work` in a thread for each file.

    Raises FieldUnknown for a text field that is not among `fields`, FieldInvalid for one that
    is sent twice, and what `work` and `read_parts` raise. No call of `work` is still running when
    this function returns or raises.
    """
    form: Form[T] = Form()
    settings = services.platform.settings
    pending: deque[asyncio.Future[T]] = deque()
    sizes: deque[int] = deque()  # of the files that are pending
    try:
        async for part in read_parts(request, settings):
            form.fingerprint.append((part.name, part.file_name, sha256(part.data)))
            if part.file_name is None:
                text = _text_field(part, fields)
                if part.name in form.fields:
                    raise errors.FieldInvalid("Send this field once.", pointer=f"/{part.name}")
                form.fields[part.name] = text
                continue
            sizes.append(len(part.data))
            most_bytes = LARGEST_IN_FLIGHT * settings.max_file_bytes
            while len(pending) == IN_FLIGHT or sum(sizes) > most_bytes:
                form.files.append(await asyncio.shield(pending[0]))
                pending.popleft()
                sizes.popleft()
            pending.append(services.decoding.start(work, part))
        while pending:
            form.files.append(await asyncio.shield(pending[0]))
            pending.popleft()
    finally:
        await asyncio.gather(*pending, return_exceptions=True)
    return form


def _text_field(part: Part, fields: Sequence[str]) -> str:
    if part.name not in fields:
        raise errors.FieldUnknown(
            f"This form has no text field {part.name[:100]!r}; a file needs a file name.",
            pointer=f"/{part.name[:100]}",
        )
    try:
        return data_of(part).decode()
    except UnicodeDecodeError as error:
        raise errors.FieldInvalid("A text field must be UTF-8.", pointer=f"/{part.name}") from error


def data_of(part: Part) -> bytes:
    """Return the bytes of a file. Raises FileTooLarge."""
    if part.too_large:
        raise errors.FileTooLarge
    return part.data


def text_field(fields: Mapping[str, str], name: str) -> str | None:
    """Return a text field, or None if it was not sent or is empty."""
    return fields.get(name) or None


# Streaming parser of multipart forms.

MAX_HEADER_BYTES = 16 * 1024  # file names may be long
MAX_SEMICOLONS = 500  # of such a header; also names and file names may have some

# Form fields escape quotes, line breaks and, from some clients, all control characters.
_ESCAPED = re.compile(r"%(0[0-9A-F]|1[0-9A-F]|22)")


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
            raise errors.MalformedMultipart from error
        for part in collector.take():
            yield part
    if not collector.ended:
        raise errors.MalformedMultipart("The form ends before its closing boundary.")


def _boundary(request: Request) -> bytes:
    kind, options = _options(request.headers.get("content-type", "").encode("latin-1"))
    boundary = options.get(b"boundary", b"")
    if kind != FORM.encode():
        raise errors.UnsupportedMediaType(f"Send a form with Content-Type: {FORM}.")
    if not 0 < len(boundary) <= 200:
        raise errors.MalformedMultipart(f"{FORM} needs a boundary of at most 200 characters.")
    return boundary


def _options(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return what a header says and its options.

    Reading them takes time that grows with the square of their number in most releases of Python.
    Raises MalformedMultipart for too many.
    """
    if header.count(b";") > MAX_SEMICOLONS:
        raise errors.MalformedMultipart("A header of a form has too many options.")
    return parse_options_header(header)


class _Collector:
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
            raise errors.TooManyParts(f"A form may have at most {self._max_parts:,} parts.")
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
        kind, options = _options(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise errors.MalformedMultipart("A part has no name.")
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
        raise errors.MalformedMultipart("Names in a form must be UTF-8.") from error
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


# Forms with image files: what may be wrong with one, and where its files go.

UPLOAD_ERRORS = (
    errors.MalformedMultipart,
    errors.BodyTooLarge,
    errors.TooManyParts,
    errors.AllRejected,
    errors.FieldUnknown,
    errors.QuotaExceeded,
    errors.StorageFull,
)


def dataset_to_fill(services: Services, dataset: str) -> Dataset:
    """Return a dataset that a form adds to. Raises DatasetNotFound or StorageFull."""
    require_room(services.platform)
    with services.platform.transactions(read_only=True) as work:
        return work[Datasets].get(dataset)


def decode_upload(
    services: Services, images: ArtifactBatch, kind: DatasetKind, part: Part
) -> Upload:
    """Decode one file of a form; runs in a thread."""
    try:
        data = data_of(part)
    except errors.FileTooLarge as refusal:
        label = clean_file_label(part.file_name)
        return Upload(text=part.name, file_label=label, refusal=refusal)
    return receive_file(
        images.add,
        services.decoder,
        kind,
        text=part.name,
        file_name=part.file_name,
        data=data,
    )


def store_uploads(services: Services, images: ArtifactBatch, uploads: Sequence[Upload]) -> None:
    """Store the images of a form that has arrived. Raises QuotaExceeded or StorageFull."""
    platform = services.platform
    with platform.transactions(read_only=True) as work:
        require_quota(platform.settings, work, [upload.image for upload in uploads])
    images.commit()
