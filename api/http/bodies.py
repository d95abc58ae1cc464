"""Bodies of requests that are archives, stored as they arrive, and images in `data:` URLs."""

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request

from core.archives.rules import HEAD_BYTES, ArchiveFormat, format_of
from core.artifacts.store import ArtifactWriter
from core.errors import FieldInvalid, FileTooLarge, UnsupportedMediaType
from core.imports.uploads import join_parts, upload_pieces
from core.platform import Platform
from core.values import Digest, UploadId

ARCHIVE_TYPES = (
    "application/zip",
    "application/x-tar",
    "application/gzip",
    "application/octet-stream",
)

PART_TYPE = "application/offset+octet-stream"  # a part of a resumable upload (tus)
AT_ONCE = 1024 * 1024  # bytes that are collected before a thread writes them

Inspect = Callable[[bytes, bool], bool]
"""Look at the first bytes of an archive, which are all of them if the second argument says so.

Return whether they suffice; otherwise more are collected. What it raises refuses the archive.
"""

UploadQuery = Annotated[
    str | None,
    Query(max_length=100, description="Import this whole upload; the request has no body."),
]


@dataclass(frozen=True, kw_only=True)
class ReceivedArchive:
    """A stored archive."""

    digest: Digest
    format: ArchiveFormat
    size: int  # bytes


async def sent_archive(
    request: Request, platform: Platform, upload: str | None, inspect: Inspect | None = None
) -> ReceivedArchive:
    """Return the archive of a request: an upload, or the body, which is stored while it arrives.

    If the body does not arrive whole, or is refused by `inspect`, nothing stays. Raises
    UnsupportedMediaType, UnsupportedArchive, StorageFull, BodyTooLarge from the middleware that
    counts the bytes, and what `join_parts` raises.
    """
    if upload is not None:
        await require_no_body(request, "upload")
        return await run_in_threadpool(_join, platform, UploadId(upload), inspect)
    if media_type_of(request.headers) not in ARCHIVE_TYPES:
        known = ", ".join(ARCHIVE_TYPES)
        raise UnsupportedMediaType(f"Send an archive, with one of these as Content-Type: {known}.")
    async with contextmanager_in_threadpool(platform.artifacts.writer()) as writer:
        return await _receive(request, writer, inspect or (lambda _first, _ended: True))


def media_type_of(headers: Headers) -> str:
    """Return the media type of a body, without parameters and in small letters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def declared_length(request: Request) -> int:
    """Return how many bytes a request says that its body has, 0 if it does not say."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdigit() else 0


async def require_no_body(request: Request, source: str) -> None:
    """Raise FieldInvalid if a request brings a body beside the parameter `source`."""
    async for piece in request.stream():
        if piece:
            raise FieldInvalid(
                "Send an archive or say where it is, not both.", pointer=f"#query/{source}"
            )


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
        if inspected and len(waiting) >= AT_ONCE:
            await run_in_threadpool(writer.write, bytes(waiting))
            waiting.clear()
    archive_format = archive_format or format_of(bytes(waiting))
    if not inspected:
        await run_in_threadpool(inspect, bytes(waiting), True)
    await run_in_threadpool(writer.write, bytes(waiting))
    digest = await run_in_threadpool(writer.commit)
    return ReceivedArchive(digest=digest, format=archive_format, size=size)


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
