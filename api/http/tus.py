"""The tus protocol 1.0 for resumable uploads (https://tus.io/protocols/resumable-upload)."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from email.utils import format_datetime
from typing import Any

from fastapi import Request
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.http.bodies import AT_ONCE, PART_TYPE, media_type_of
from core import errors
from core.artifacts.store import Artifacts
from core.imports.rules import ResumableUpload
from core.values import Digest

VERSION = "1.0.0"
EXTENSIONS = "creation,expiration,checksum,termination"
ALGORITHMS = ("sha1", "sha256")


def require_version(sent: str | None) -> None:
    """Raise TusVersion for any version but 1.0.0."""
    if sent != VERSION:
        raise errors.TusVersion(versions=[VERSION])


def headers_of(upload: ResumableUpload) -> Mapping[str, str]:
    """Return the headers that say how much of an upload has arrived."""
    return {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(upload.offset),
        "Upload-Length": str(upload.length),
        "Upload-Expires": format_datetime(upload.expires_at, usegmt=True),
    }


async def receive_part(
    request: Request, artifacts: Artifacts, upload: ResumableUpload, checksum: str | None
) -> tuple[Digest, int, Exception | None]:
    """Store what arrives of a part; return its digest, its size and what cut it short, if anything.

    A part with a checksum is stored whole or not at all. Raises UnsupportedMediaType, Malformed,
    ChecksumMismatch, BodyTooLarge, TooManyParts and StorageFull.
    """
    if media_type_of(request.headers) != PART_TYPE:
        raise errors.UnsupportedMediaType(f"Send the part with Content-Type: {PART_TYPE}.")
    total, wanted = _checksum(checksum)
    waiting, size, cut = bytearray(), 0, None
    async with contextmanager_in_threadpool(artifacts.writer()) as writer:
        try:
            async for piece in request.stream():
                size += len(piece)
                upload.require_room(size)
                total.update(piece)
                waiting += piece
                if len(waiting) >= AT_ONCE:
                    await run_in_threadpool(writer.write, bytes(waiting))
                    waiting.clear()
        except (ClientDisconnect, errors.RequestTimeout) as error:
            if wanted is not None:
                raise
            cut = error
        if wanted is not None and total.digest() != wanted:
            raise errors.ChecksumMismatch
        await run_in_threadpool(writer.write, bytes(waiting))
        return await run_in_threadpool(writer.commit), size, cut


def _checksum(sent: str | None) -> tuple[Any, bytes | None]:
    """Return the hash to feed and the digest that it must end in. Raises Malformed."""
    if sent is None:
        return hashlib.sha256(), None
    algorithm, _, encoded = sent.partition(" ")
    if algorithm not in ALGORITHMS:
        raise errors.Malformed(f"Upload-Checksum may use {' or '.join(ALGORITHMS)}.")
    try:
        wanted = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise errors.Malformed(
            "Upload-Checksum must be an algorithm and a digest in base64."
        ) from error
    return hashlib.new(algorithm, usedforsecurity=False), wanted
