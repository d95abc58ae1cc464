"""Versions as files: exports for other software, and bundles for other services."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from perennial.aio.connection import Resource, content_of, download, entered
from perennial.requests import given, idempotency, json_of, opened, path_of
from perennial.types import Export, ExportFormat, Job, OriginDocument, SigningKey


class Exports(Resource):
    """Exports: versions as files that other software loads."""

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
        return await self._connection.post(_exports_path(model, version), body, headers=headers)

    async def list(self, model: str, version: int) -> Sequence[Export]:
        """Return the exports of a version, by format."""
        found = await self._connection.get(_exports_path(model, version))
        return found["data"]

    async def get(self, model: str, version: int, export_format: ExportFormat) -> Export:
        """Return the export of a version in a format."""
        return await self._connection.get(_exports_path(model, version, export_format))

    async def delete(self, model: str, version: int, export_format: ExportFormat) -> None:
        """Delete an export."""
        await self._connection.delete(_exports_path(model, version, export_format))

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
        path = _exports_path(model, version, export_format, "download")
        return await download(self._connection, path, digest=digest, to=to, on_bytes=on_bytes)


def _exports_path(model: str, version: int, *rest: str) -> str:
    return path_of("models", model, "versions", version, "exports", *rest)


class Bundles(Resource):
    """Bundles: signed versions; `exports.order(model, version, "bundle")` makes one."""

    async def send(
        self,
        model: str,
        source: Path,
        *,
        expect_digest: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Send a bundle, and return the job that makes a version of it.

        A service that trusts none of the keys that have signed it refuses it at once. With
        `expect_digest`, so does one that finds another version in it. Raises OSError.
        """
        headers = {"Content-Type": "application/x-tar"} | idempotency(idempotency_key)
        async with entered(opened(source)) as file:
            headers["Content-Length"] = str(file.seek(0, os.SEEK_END))
            file.seek(0)
            reply = await self._connection.send(
                "POST",
                _bundles_path(model),
                content=content_of(file),
                headers=headers,
                params=given(expect_digest=expect_digest),
            )
        return json_of(reply)

    async def import_upload(
        self,
        model: str,
        upload: str,
        *,
        expect_digest: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Import a bundle that `uploads.send` has sent; see `send`."""
        reply = await self._connection.send(
            "POST",
            _bundles_path(model),
            headers=idempotency(idempotency_key),
            params=given(upload=upload, expect_digest=expect_digest),
        )
        return json_of(reply)

    async def origin(self, model: str, version: int) -> OriginDocument:
        """Return what the bundle of an imported version said of it, with its foreign reports."""
        path = path_of("models", model, "versions", version, "origin")
        return await self._connection.get(path)

    async def signing_key(self) -> SigningKey:
        """Return the public key of the service's bundles."""
        return await self._connection.get(path_of("signing-key"))


def _bundles_path(model: str) -> str:
    return path_of("models", model, "imports")
