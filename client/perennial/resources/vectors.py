# Written by `python -m devtools.sync_client` from perennial/aio/resources/vectors.py: change that.
"""Vectors of a dataset version's images, and reports on old indexes."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from perennial.blocking import in_thread
from perennial.connection import Connection
from perennial.downloads import download
from perennial.request_parts import given, idempotency, path_of
from perennial.types.jobs import Job
from perennial.types.vectors import Compatibility, EmbeddingMap
from perennial.types.vectors import Vectors as StoredVectors


class Vectors:
    """The verbs of stored vectors and of old indexes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def order(
        self,
        model: str,
        version: int,
        dataset: str,
        dataset_version: int,
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """Order the vectors of a dataset version's images, in the place of those stored."""
        body = {"dataset": dataset, "dataset_version": dataset_version}
        headers = idempotency(idempotency_key)
        return cast(Job, self._connection.post(_path(model, version), body, headers=headers))

    def list(self, model: str, version: int) -> Sequence[StoredVectors]:
        """Return what is stored by a version, by dataset and dataset version."""
        found = self._connection.get(_path(model, version))
        return cast(Sequence[StoredVectors], found["data"])

    def get(self, model: str, version: int, dataset: str, dataset_version: int) -> StoredVectors:
        """Return what is stored of a dataset version's vectors."""
        path = _path(model, version, dataset, dataset_version)
        return cast(StoredVectors, self._connection.get(path))

    def delete(self, model: str, version: int, dataset: str, dataset_version: int) -> None:
        """Delete stored vectors."""
        self._connection.delete(_path(model, version, dataset, dataset_version))

    def download(
        self,
        model: str,
        version: int,
        dataset: str,
        dataset_version: int,
        *,
        to: Path,
        on_bytes: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Download vectors as a .npy file of float32, one row for each image, and return `to`.

        After an interruption, the next call goes on where this one stopped. `on_bytes` is called
        with the number of bytes that are there and the number of all.
        """
        found = self.get(model, version, dataset, dataset_version)
        path = _path(model, version, dataset, dataset_version, "download")
        digest = found["artifact"]
        return download(self._connection, path, digest=digest, to=to, on_bytes=on_bytes)

    def download_images(
        self, model: str, version: int, dataset: str, dataset_version: int, *, to: Path
    ) -> Path:
        """Download what each row is of: a line of JSON with `pixels` and `texts`; return `to`."""
        path = _path(model, version, dataset, dataset_version, "images")
        response = self._connection.send("GET", path)
        in_thread(partial(to.write_bytes, response.content))
        return to

    def compare(
        self,
        model: str,
        version: int,
        *,
        baseline: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Order a report on an index of the baseline's vectors, by default the parent's."""
        path = _compatibility(model, version)
        headers = idempotency(idempotency_key)
        body = given(**{"from": baseline})
        return cast(Job, self._connection.post(path, body, headers=headers))

    def reports(self, model: str, version: int) -> Sequence[Compatibility]:
        """Return the reports of a version, by the version that each compares it with."""
        found = self._connection.get(_compatibility(model, version))
        return cast(Sequence[Compatibility], found["data"])

    def report(self, model: str, version: int, baseline: int) -> Compatibility:
        """Return whether an index of the baseline's vectors still serves the version."""
        path = _compatibility(model, version, baseline)
        return cast(Compatibility, self._connection.get(path))

    def map(self, model: str, version: int, baseline: int) -> Sequence[EmbeddingMap]:
        """Return where both versions of a report put test images, by suite and holdout."""
        found = self._connection.get(_compatibility(model, version, baseline, "map"))
        return cast(Sequence[EmbeddingMap], found["data"])

    def download_bridge(self, model: str, version: int, baseline: int, *, to: Path) -> Path:
        """Download the map of the baseline's vectors as a safetensors file, and return `to`.

        Raises ValueError if what has arrived is not what the report names.
        """
        found = self.report(model, version, baseline)
        path = _compatibility(model, version, baseline, "bridge")
        response = self._connection.send("GET", path)
        if hashlib.sha256(response.content).hexdigest() != found["bridge"]["artifact"]:
            raise ValueError("the bridge was replaced meanwhile: download it again")
        in_thread(partial(to.write_bytes, response.content))
        return to


def _path(model: str, version: int, *rest: str | int) -> str:
    return path_of("models", model, "versions", version, "vectors", *rest)


def _compatibility(model: str, version: int, *rest: str | int) -> str:
    return path_of("models", model, "versions", version, "compatibility", *rest)
