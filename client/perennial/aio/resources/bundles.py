"""Bundles: versions of another service, signed."""

import os
from pathlib import Path
from typing import cast

from perennial.aio.blocking import content_of, entered
from perennial.aio.connection import Connection
from perennial.archives import opened
from perennial.replies import json_of
from perennial.request_parts import given, idempotency, path_of
from perennial.types.bundles import OriginDocument, SigningKey
from perennial.types.jobs import Job


class Bundles:
    """The verbs of bundles; `exports.order(model, version, "bundle")` makes one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

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
                _path(model),
                content=content_of(file),
                headers=headers,
                params=given(expect_digest=expect_digest),
            )
        return cast(Job, json_of(reply))

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
            _path(model),
            headers=idempotency(idempotency_key),
            params=given(upload=upload, expect_digest=expect_digest),
        )
        return cast(Job, json_of(reply))

    async def origin(self, model: str, version: int) -> OriginDocument:
        """Return what the bundle of an imported version said of it, with its foreign reports."""
        path = path_of("models", model, "versions", version, "origin")
        return cast(OriginDocument, await self._connection.get(path))

    async def signing_key(self) -> SigningKey:
        """Return the public key of the service's bundles."""
        return cast(SigningKey, await self._connection.get(path_of("signing-key")))


def _path(model: str) -> str:
    return path_of("models", model, "imports")
