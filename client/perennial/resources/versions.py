# Written by `python -m devtools.sync_client` from perennial/aio/resources/versions.py: change that.
"""Versions of a model: their facts, reports and weights."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from perennial.connection import Connection
from perennial.downloads import download
from perennial.request_parts import path_of
from perennial.types.evaluation.comparisons import Blame, Comparison, Flip, FlipKind
from perennial.types.evaluation.reports import Report
from perennial.types.versions import Version


class Versions:
    """The verbs of versions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, model: str, version: int) -> Version:
        """Return a version."""
        return cast(Version, self._connection.get(path_of("models", model, "versions", version)))

    def list(self, model: str) -> Iterator[Version]:
        """Yield the versions of a model, oldest first."""
        return self._connection.pages(path_of("models", model, "versions"))

    def delete(self, model: str, version: int) -> None:
        """Delete a version that no alias, no job and no other version needs."""
        self._connection.delete(path_of("models", model, "versions", version))

    def report(self, model: str, version: int) -> Report:
        """Return the forgetting report of a version."""
        return cast(Report, self._connection.get(_report_path(model, version)))

    def report_page(self, model: str, version: int) -> str:
        """Return the forgetting report of a version as an HTML page with plots."""
        headers = {"Accept": "text/html"}
        path = _report_path(model, version)
        answer = self._connection.send("GET", path, headers=headers)
        return answer.text

    def flips(
        self,
        model: str,
        version: int,
        *,
        against: str | int = "parent",
        suite: str | None = None,
        kind: FlipKind | None = None,
        class_name: str | None = None,
    ) -> Iterator[Flip]:
        """Yield the images that either a version or its baseline answered right, but not both."""
        path = path_of("models", model, "versions", version, "flips")
        query = {"against": against, "suite": suite, "kind": kind, "class": class_name}
        return self._connection.pages(path, **query)

    def compare(self, model: str, before: int, now: int) -> Comparison:
        """Compare a version with an earlier one by their answers to the same test images."""
        path = path_of("models", model, "compare")
        return cast(Comparison, self._connection.get(path, versions=f"{before},{now}"))

    def blame(self, model: str, class_name: str, *, version: int | None = None) -> Blame:
        """Return a class's accuracy along a line of versions, and where it fell most.

        The line is that of `version`, or else of the version that `production` points to.
        """
        query = {"class": class_name, "version": version}
        return cast(Blame, self._connection.get(path_of("models", model, "blame"), **query))

    def download(
        self,
        model: str,
        version: int,
        *,
        to: Path,
        on_bytes: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Download a version as a tar file of the folder that open_clip loads, and return `to`.

        After an interruption, the next call goes on where this one stopped. `on_bytes` is called
        with the number of bytes that are there and the number of all.
        """
        found = self.get(model, version)
        digest = found["digest"]
        path = path_of("models", model, "versions", version, "download")
        return download(self._connection, path, digest=digest, to=to, on_bytes=on_bytes)


def _report_path(model: str, version: int) -> str:
    return path_of("models", model, "versions", version, "forgetting")
