"""Uploads that go on where they were interrupted."""

import asyncio
import hashlib
import os
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

from perennial import types
from perennial.aio.connection import Resource, entered, in_thread
from perennial.errors import ServiceError
from perennial.requests import opened, path_of

PART_BYTES = 8 * 1024**2
TRIES = 6  # of one part
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
_TUS = {"Tus-Resumable": "1.0.0"}
_PART = _TUS | {"Content-Type": "application/offset+octet-stream"}


class Uploads(Resource):
    """Uploads that go on where they were interrupted."""

    async def create(self, length: int) -> types.UploadProgress:
        """Announce a file of `length` bytes."""
        headers = _TUS | {"Upload-Length": str(length)}
        return await self._connection.post(path_of("uploads"), headers=headers)

    async def get(self, upload: str) -> types.UploadProgress:
        """Return how much of an upload has arrived."""
        return await self._connection.get(path_of("uploads", upload))

    async def delete(self, upload: str) -> None:
        """Delete an upload."""
        await self._connection.delete(path_of("uploads", upload), headers=_TUS)

    async def send(
        self,
        source: Path,
        *,
        upload: str | None = None,
        on_start: Callable[[str], object] | None = None,
        on_bytes: Callable[[int, int], object] | None = None,
    ) -> str:
        """Send an archive, or a folder as one, in parts, and return the id of its upload.

        A part is tried again when its connection breaks. With `upload`, an upload of the same
        file goes on. `on_start` is called with the id, `on_bytes` with the bytes that have arrived
        and with all. Raises OSError, ValueError if the upload is of a file of another length,
        ServiceError, or httpx.TransportError when a part cannot be sent in six tries.
        """
        async with entered(opened(source)) as file:
            length = file.seek(0, os.SEEK_END)
            found = await self.create(length) if upload is None else await self.get(upload)
            if found["length"] != length:
                raise ValueError(f"{upload} has {found['length']} bytes and {source} {length}.")
            if on_start is not None:
                on_start(found["id"])
            failed = 0
            while found["offset"] < length:
                file.seek(found["offset"])
                part = await in_thread(partial(file.read, PART_BYTES))
                try:
                    await self._send_part(found, part)
                    failed = 0
                except (httpx.TransportError, ServiceError) as error:
                    failed += 1
                    if failed == TRIES or not _may_pass(error):
                        raise
                    await asyncio.sleep(min(FIRST_PAUSE_S * 2**failed, LONGEST_PAUSE_S))
                found = await self.get(found["id"])
                if on_bytes is not None:
                    on_bytes(found["offset"], length)
        return found["id"]

    async def _send_part(self, upload: types.UploadProgress, part: bytes) -> None:
        digest = b64encode(hashlib.sha256(part).digest()).decode()
        headers = _PART | {
            "Upload-Offset": str(upload["offset"]),
            "Upload-Checksum": f"sha256 {digest}",
        }
        path = path_of("uploads", upload["id"])
        await self._connection.send("PATCH", path, content=part, headers=headers)


def _may_pass(error: Exception) -> bool:
    """Return whether the part may be sent once more."""
    return not isinstance(error, ServiceError) or error.retryable or error.status in {409, 460}
