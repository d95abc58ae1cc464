"""Versions as files: exports for other software, and bundles for other services."""

from collections.abc import Callable, Sequence
from pathlib import Path

from perennial import types
from perennial.aio.connection import Resource, download
from perennial.requests import idempotency, path_of


class Exports(Resource):
    """Exports: versions as files that other software loads."""

    async def order(
        self,
        model: str,
        version: int,
        export_format: types.ExportFormat,
        *,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Order the export of a version, which takes the place of its export in that format."""
        body = {"format": export_format}
        headers = idempotency(idempotency_key)
        return await self._connection.post(_exports_path(model, version), body, headers=headers)

    async def list(self, model: str, version: int) -> Sequence[types.Export]:
        """Return the exports of a version, by format."""
        found = await self._connection.get(_exports_path(model, version))
        return found["data"]

    async def get(
        self, model: str, version: int, export_format: types.ExportFormat
    ) -> types.Export:
        """Return the export of a version in a format."""
        return await self._connection.get(_exports_path(model, version, export_format))

    async def delete(self, model: str, version: int, export_format: types.ExportFormat) -> None:
        """Delete an export."""
        await self._connection.delete(_exports_path(model, version, export_format))

    async def download(
        self,
        model: str,
        version: int,
        export_format: types.ExportFormat,
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
        guard: str | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Send a bundle, and return the job that makes a version of it.

        A service that trusts none of the keys that have signed it refuses it at once. With
        `expect_digest`, so does one that finds another version in it. The suite `guard` has test
        images of the classes that the version was taught, and becomes one of the model's suites.
        Raises OSError.
        """
        headers = {"Content-Type": "application/x-tar"} | idempotency(idempotency_key)
        return await self._connection.post_file(
            _bundles_path(model),
            source,
            headers=headers,
            expect_digest=expect_digest,
            guard=guard,
        )

    async def import_upload(
        self,
        model: str,
        upload: str,
        *,
        expect_digest: str | None = None,
        guard: str | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Import a bundle that `uploads.send` has sent; see `send`."""
        headers = idempotency(idempotency_key)
        return await self._connection.post(
            _bundles_path(model),
            headers=headers,
            upload=upload,
            expect_digest=expect_digest,
            guard=guard,
        )

    async def origin(self, model: str, version: int) -> types.OriginDocument:
        """Return what the bundle of an imported version said of it, with its foreign reports."""
        path = path_of("models", model, "versions", version, "origin")
        return await self._connection.get(path)

    async def signing_key(self) -> types.SigningKey:
        """Return the public key of the service's bundles."""
        return await self._connection.get(path_of("signing-key"))


def _bundles_path(model: str) -> str:
    return path_of("models", model, "imports")
