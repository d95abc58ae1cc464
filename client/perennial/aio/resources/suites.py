"""Suites: images that a model must not forget."""

from collections.abc import AsyncIterator
from typing import cast

from perennial.aio.connection import Connection
from perennial.request_parts import given, path_of
from perennial.types.evaluation.suites import Suite, SuiteKind


class Suites:
    """The verbs of suites."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        name: str,
        *,
        kind: SuiteKind,
        dataset: str,
        dataset_version: int,
        prompt: str | None = None,
    ) -> Suite:
        """Create a suite from all images of a dataset version.

        `prompt` is a template with one `{name}`; suites for retrieval do not use it.
        """
        body = given(
            name=name,
            kind=kind,
            dataset=dataset,
            dataset_version=dataset_version,
            prompt=prompt,
        )
        return cast(Suite, await self._connection.post(path_of("suites"), body))

    async def get(self, name: str) -> Suite:
        """Return a suite."""
        return cast(Suite, await self._connection.get(path_of("suites", name)))

    def list(self) -> AsyncIterator[Suite]:
        """Yield all suites."""
        return self._connection.pages(path_of("suites"))
