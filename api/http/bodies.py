"""Bodies of requests."""

import json
import re
from base64 import b64decode
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import Query
from fastapi import Request as fastapi_Request
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request

from core.archives.rules import HEAD_BYTES, ArchiveFormat, format_of
from core.artifacts.store import Artifacts, ArtifactWriter
from core.errors import FieldInvalid, FileTooLarge, Malformed, UnsupportedMediaType
from core.imports.uploads import join_parts, upload_pieces
from core.platform import Platform
from core.values import Digest, UploadId

# Bodies that are archives: stored as they arrive, never in memory whole.


ARCHIVE_TYPES = (
    "application/zip",
    "application/x-tar",
    "application/gzip",
    "application/octet-stream",
)

PART_TYPE = "application/offset+octet-stream"  # a part of a resumable upload (tus)

AT_ONCE_OF_ARCHIVE_BODY = 1024 * 1024  # bytes that are collected before a thread writes them


@dataclass(frozen=True, kw_only=True)
class ReceivedArchive:
    """A stored archive."""

    digest: Digest
    format: ArchiveFormat
    size: int  # bytes


Inspect = Callable[[bytes, bool], bool]
"""Look at the first bytes of an archive, which are all of them if the second argument says so.

Return whether they suffice; otherwise more are collected. What it raises refuses the archive.
"""


async def receive_archive(
    request: Request, artifacts: Artifacts, inspect: Inspect | None = None
) -> ReceivedArchive:
    """Store an archive while it arrives; its first bytes tell its format.

    If the body does not arrive whole, or is refused by `inspect`, nothing stays. Raises
    UnsupportedMediaType, UnsupportedArchive, StorageFull, and BodyTooLarge from the middleware that
    counts the bytes.
    """
    require_archive_type(request)
    async with contextmanager_in_threadpool(artifacts.writer()) as writer:
        return await _receive(request, writer, inspect or (lambda _first, _ended: True))


def require_archive_type(request: Request) -> None:
    """Raise UnsupportedMediaType unless the body is declared as an archive."""
    if media_type_of(request.headers) not in ARCHIVE_TYPES:
        known = ", ".join(ARCHIVE_TYPES)
        raise UnsupportedMediaType(f"Send an archive, with one of these as Content-Type: {known}.")


def media_type_of(headers: Headers) -> str:
    """Return the media type of a body, without parameters and in small letters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def _receive(request: Request, writer: ArtifactWriter, inspect: Inspect) -> ReceivedArchive:
    waiting, size, inspected = bytearray(), 0, False
    archive_format: ArchiveFormat | None = None
    async for piece in request.stream():
        waiting += piece
        size += len(piece)
        if archive_format is None and size >= HEAD_BYTES:
            archive_format = format_of(bytes(waiting))
        if archive_format is not None and not inspected:
            inspected = await run_in_threadpool(inspect, bytes(waiting), False)
        if inspected and len(waiting) >= AT_ONCE_OF_ARCHIVE_BODY:
            await run_in_threadpool(writer.write, bytes(waiting))
            waiting.clear()
    archive_format = archive_format or format_of(bytes(waiting))
    if not inspected:
        await run_in_threadpool(inspect, bytes(waiting), True)
    await run_in_threadpool(writer.write, bytes(waiting))
    digest = await run_in_threadpool(writer.commit)
    return ReceivedArchive(digest=digest, format=archive_format, size=size)


# Images in `data:` URLs (RFC 2397).


_URL = re.compile(r"data:[\w.+-]*/[\w.+-]*[;,]", flags=re.ASCII | re.IGNORECASE)

_IMAGE = re.compile(r"data:image/[\w.+-]+(;[\w.+=-]+)*;base64,", flags=re.ASCII | re.IGNORECASE)


def is_data_url(text: str) -> bool:
    """Return whether a text is a URL that holds a file."""
    return _URL.match(text) is not None


def image_of(url: str, *, max_bytes: int) -> bytes:
    """Return the image file in a URL. Raises FieldInvalid, and FileTooLarge beyond `max_bytes`."""
    head = _IMAGE.match(url)
    if head is None:
        raise FieldInvalid("A data URL must be one of an image: data:image/png;base64,...")
    if (len(url) - head.end()) // 4 * 3 - 2 > max_bytes:
        raise FileTooLarge
    try:
        return b64decode(url[head.end() :], validate=True)
    except ValueError as error:
        raise FieldInvalid("The data URL's base64 is not valid.") from error


# Parse JSON that clients send: bounded before it becomes values, and with texts that are storable.
#
# A value may take forty times the memory of its text: three bytes of `{},` are an object of 64
# bytes in a list. The bounds are therefore checked on the text, before any value is made.


# Of one JSON text. The API's largest is a recipe with 100,000 texts as its vocabulary; 1,000 labels
# have the most parts, 3,003, and nothing has more than three levels.
MAX_VALUES = 110_000  # items of lists and fields of objects; an empty list or object counts twice

MAX_PARTS = 10_000  # fields, objects and lists, which take most memory and time

MAX_DEPTH = 32  # lists and objects within each other

MAX_DIGITS = 300  # of a whole number: the time to read one grows with their square

_STRING = re.compile(rb'"[^"]*"')  # in a text without escapes

_BRACKET = re.compile(rb"[\[\]{}]")

_HALF = re.compile("[\ud800-\udfff]")  # half of a surrogate pair


def parse(text: str | bytes, *, pointer: str = "") -> Any:
    """Return the value of a JSON text in UTF-8; `pointer` leads to the text, if it is in a field.

    Raises ValueError when it is not JSON, and FieldInvalid for a text beyond the bounds above, for
    an object with two fields of the same name, because one of them would be ignored, and for a
    string that no database stores.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    _require_bounded(data, pointer)
    decoded = data.removeprefix(BOM_UTF8).decode("utf-8", "surrogatepass")
    value = _DECODER.decode(decoded)
    if "\\u" in decoded or not _is_unicode(decoded):  # else every string is storable
        require_storable(value, pointer=pointer)
    return value


def require_storable(value: object, *, pointer: str = "") -> None:
    """Raise FieldInvalid for a string in a JSON value that no database stores, and point to it.

    Such a string holds a NUL or half of a surrogate pair. A key is pointed to by its object.
    """
    steps = _unstorable(value)
    if steps is not None:
        raise FieldInvalid(
            "A string must not contain NUL or half of a surrogate pair.",
            pointer=pointer + "".join(f"/{_escaped(step)}" for step in reversed(steps)),
        )


def _require_bounded(data: bytes, pointer: str) -> None:
    """Raise FieldInvalid for a text beyond a bound. Marks within strings count for nothing."""
    if _count(data, b"[{") <= MAX_DEPTH and _excess(data) is None:
        return
    excess = _excess_without_strings(data)
    if excess is not None:
        raise FieldInvalid(f"The JSON has more than {excess}.", pointer=pointer or None)


def _excess(data: bytes) -> str | None:
    """Return the bound that a text exceeds by its marks, those within strings included."""
    opened = _count(data, b"[{")
    if opened + data.count(b":") > MAX_PARTS:
        return f"{MAX_PARTS:,} fields, objects and lists"
    if opened + data.count(b",") > MAX_VALUES:
        return f"{MAX_VALUES:,} values"
    return None


def _excess_without_strings(data: bytes) -> str | None:
    """Return the bound that a text exceeds as far as it is JSON."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if data.count(b'"') > 2 * (MAX_VALUES + MAX_PARTS):  # values may be strings, fields have names
        return f"{MAX_VALUES:,} values"
    bare = _STRING.sub(b"", data)
    return _excess(bare) or _excess_depth(bare)


def _excess_depth(bare: bytes) -> str | None:
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            return f"{MAX_DEPTH} lists and objects within each other"
        if depth < 0:  # not JSON from here on
            break
    return None


def _count(data: bytes, marks: bytes) -> int:
    return sum(data.count(mark) for mark in marks)


def _object(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        ((name, count),) = Counter(name for name, _ in fields).most_common(1)
        raise FieldInvalid(f"An object has the field {name[:100]!r} {count} times: send it once.")
    return found


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise FieldInvalid(f"A whole number has more than {MAX_DIGITS} digits.")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)


def _unstorable(value: object) -> list[object] | None:
    """Return the steps to a string that no database stores, the last one first, or None.

    The steps are taken down once such a string is found: a path to each string would take more
    memory than the value.
    """
    items: Iterable[tuple[object, object]]
    if isinstance(value, str):
        return None if _is_storable(value) else []
    if isinstance(value, dict):
        if not all(map(_is_storable, value)):
            return []
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return None
    for step, item in items:
        steps = _unstorable(item)
        if steps is not None:
            return [*steps, step]
    return None


def _is_storable(text: str) -> bool:
    return "\0" not in text and _is_unicode(text)


def _is_unicode(text: str) -> bool:
    return text.isascii() or _HALF.search(text) is None


def _escaped(step: object) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


# JSON bodies: a small one is read on the event loop, a large one in a thread.


AT_ONCE = 64 * 1024  # bytes or characters of a text, which take a few milliseconds at worst

Model = TypeVar("Model", bound=BaseModel)

P = ParamSpec("P")

T = TypeVar("T")


async def read_aside(size: int, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `read` makes of a text of this size, in a thread if that may take long."""
    if size <= AT_ONCE:
        return read(*args, **kwargs)
    return await run_in_threadpool(read, *args, **kwargs)


def parse_body(body: bytes) -> Any:
    """Return the value of a JSON body. Raises Malformed and FieldInvalid."""
    try:
        return parse(body)
    except ValueError as error:
        raise Malformed("The body is not valid JSON.") from error


async def read_json(request: Request, model: type[Model]) -> Model:
    """Return the body as a value of this model, refused as the framework refuses one.

    For routes that also take a form. Raises Malformed, FieldInvalid and RequestValidationError.
    """
    body = await request.body()
    return await read_aside(len(body), _read, body, model)


def _read(body: bytes, model: type[Model]) -> Model:
    value = parse_body(body)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        lines = [{**line, "loc": ("body", *line["loc"])} for line in found]
        raise RequestValidationError(lines, body=value) from error


# An archive that a request brings: in its body, or as an upload that it names.


UploadQuery = Annotated[
    str | None,
    Query(max_length=100, description="Import this whole upload; the request has no body."),
]


def declared_length(request: fastapi_Request) -> int:
    """Return how many bytes a request says that its body has, 0 if it does not say."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdigit() else 0


async def sent_archive(
    request: fastapi_Request, platform: Platform, upload: str | None, inspect: Inspect | None = None
) -> ReceivedArchive:
    """Return the stored archive of a request. Raises what storing either of the two raises.

    What `inspect` refuses is not stored.
    """
    if upload is None:
        return await receive_archive(request, platform.artifacts, inspect)
    await require_no_body(request, "upload")
    return await run_in_threadpool(_join, platform, UploadId(upload), inspect)


async def require_no_body(request: fastapi_Request, source: str) -> None:
    """Raise FieldInvalid if a request brings a body beside the parameter `source`."""
    async for piece in request.stream():
        if piece:
            raise FieldInvalid(
                "Send an archive or say where it is, not both.", pointer=f"#query/{source}"
            )


def _join(platform: Platform, upload: UploadId, inspect: Inspect | None) -> ReceivedArchive:
    if inspect is not None:
        first = bytearray()
        pieces = upload_pieces(platform, upload)
        for piece in pieces:
            first += piece
            if inspect(bytes(first), False):
                break
        else:
            inspect(bytes(first), True)
    digest, size, head = join_parts(platform, upload)
    return ReceivedArchive(digest=digest, format=format_of(head[:HEAD_BYTES]), size=size)
