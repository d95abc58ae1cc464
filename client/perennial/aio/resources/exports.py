"""Exports: versions as files that other software loads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from perennial.aio.connection import Connection
from perennial.aio.downloads import download
from perennial.request_parts import idempotency, path_of
from perennial.types.exports import Export
from perennial.types.jobs import ExportFormat, Job


class Exports:
    """The verbs of exports."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def order(
        self,
        model: str,
        version: int,
        export_format: ExportFormat,
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """Order the export of a version, which takes the place of its export in that format."""
        body = {"format": export_format}
        headers = idempotency(idempotency_key)
        return cast(Job, await self._connection.post(_path(model, version), body, headers=headers))

    async def list(self, model: str, version: int) -> Sequence[Export]:
        """Return the exports of a version, by format."""
        found = await self._connection.get(_path(model, version))
        return cast(Sequence[Export], found["data"])

    async def get(self, model: str, version: int, export_format: ExportFormat) -> Export:
        """Return the export of a version in a format."""
        return cast(Export, await self._connection.get(_path(model, version, export_format)))

    async def delete(self, model: str, version: int, export_format: ExportFormat) -> None:
        """Delete an export."""
        await self._connection.delete(_path(model, version, export_format))

    async def download(
        self,
        model: str,
        version: int,
        export_format: ExportFormat,
        *,
        to: Path,
        on_bytes: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Download an export as a tar file of one folder, and return `to`.

        After an interruption, the next call goes on where this one stopped. `on_bytes` is called
        with the number of bytes that are there and the number of all.
        """
        found = await self.get(model, version, export_format)
        digest = found["artifact"]
        path = _path(model, version, export_format, "download")
        return await download(self._connection, path, digest=digest, to=to, on_bytes=on_bytes)


def _path(model: str, version: int, *rest: str) -> str:
    return path_of("models", model, "versions", version, "exports", *rest)
