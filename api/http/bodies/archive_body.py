"""Bodies that are archives: stored as they arrive, never in memory whole."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request

from core.domain.datasets.archive import HEAD_BYTES, ArchiveFormat, format_of
from core.domain.values import Digest
from core.errors import UnsupportedMediaType
from core.ports import Artifacts, ArtifactWriter

ARCHIVE_TYPES = (
    "application/zip",
    "application/x-tar",
    "application/gzip",
    "application/octet-stream",
)
PART_TYPE = "application/offset+octet-stream"  # a part of a resumable upload (tus)
AT_ONCE = 1024 * 1024  # bytes that are collected before a thread writes them


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
        if inspected and len(waiting) >= AT_ONCE:
            await run_in_threadpool(writer.write, bytes(waiting))
            waiting.clear()
    archive_format = archive_format or format_of(bytes(waiting))
    if not inspected:
        await run_in_threadpool(inspect, bytes(waiting), True)
    await run_in_threadpool(writer.write, bytes(waiting))
    digest = await run_in_threadpool(writer.commit)
    return ReceivedArchive(digest=digest, format=archive_format, size=size)
