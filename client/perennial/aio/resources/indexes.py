"""Indexes outside the service, as it knows them; `perennial.indexes` fills and searches them."""

from collections.abc import Sequence
from typing import Literal

from perennial import types
from perennial.aio.connection import Resource
from perennial.requests import given, json_of, path_of


class Indexes(Resource):
    """Indexes that follow an alias, and the state of each of their versions."""

    async def create(
        self,
        model: str,
        name: str,
        *,
        store: Literal["pgvector", "qdrant"],
        alias: str | None = None,
        dataset: str | None = None,
        allowed_loss: float | None = None,
    ) -> types.Index:
        """Create an index of a dataset's images, or without `dataset` of files of your own."""
        body = given(
            name=name, store=store, alias=alias, dataset=dataset, allowed_loss=allowed_loss
        )
        return await self._connection.post(path_of("models", model, "indexes"), body)

    async def list(self, model: str) -> Sequence[types.Index]:
        """Return the indexes of a model, by name."""
        found = await self._connection.get(path_of("models", model, "indexes"))
        return found["data"]

    async def get(self, model: str, name: str) -> types.Index:
        """Return an index, and what it has for each version."""
        return await self._connection.get(path_of("models", model, "indexes", name))

    async def record(
        self,
        model: str,
        name: str,
        version: int,
        *,
        digest: str,
        method: Literal["embedded", "bridged", "held"],
        baseline: int | None = None,
        rows: int,
        total: int,
        complete: bool = False,
    ) -> types.Index:
        """Record how far the vectors for a version are; once complete, the alias may move."""
        body = given(
            digest=digest,
            method=method,
            baseline=baseline,
            rows=rows,
            total=total,
            complete=complete,
        )
        path = path_of("models", model, "indexes", name, "versions", str(version))
        return json_of(await self._connection.send("PUT", path, json=body))

    async def clear(self, model: str, name: str, version: int) -> None:
        """Forget the vectors for a version, before they are deleted from the store."""
        path = path_of("models", model, "indexes", name, "versions", str(version))
        await self._connection.delete(path)

    async def delete(self, model: str, name: str) -> None:
        """Delete an index; its alias then moves freely, and its store stays as it is."""
        await self._connection.delete(path_of("models", model, "indexes", name))
