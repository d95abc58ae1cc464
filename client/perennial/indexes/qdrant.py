"""Vectors in Qdrant: a collection for each version, and a point that names the one searched."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from perennial.indexes.store import EF_SEARCH, Hit, IndexFailure, Item, Live, Vector

TIMEOUT_S = 60
AT_ONCE = 5000  # points that are read at a time
ONE = [1.0]  # the vector of a point that is not searched
POINTER, SOURCE_OF = 0, 1  # points of `shop_index`: what is searched; that of side 3 is 1 + 3


class QdrantStore:
    """An index in Qdrant: the collections `shop_index`, `shop_v1`, `shop_v2` ...; alias `shop`.

    A point of `shop_index` names the version, its digest and its collection. It is replaced as a
    whole, so a searcher reads all three together, and then searches that collection by its name.
    The alias `shop` is for other software, and follows in a second step.
    """

    def __init__(self, client: QdrantClient, name: str, *, ef_search: int = EF_SEARCH) -> None:
        self._client = client
        self._name = name
        self._ef_search = ef_search

    @classmethod
    def at(
        cls, url: str, name: str, key: str | None, *, ef_search: int = EF_SEARCH
    ) -> "QdrantStore":
        """Connect to a server."""
        with _failures("connect"):
            client = QdrantClient(url=url, api_key=key, timeout=TIMEOUT_S)
        return cls(client, name, ef_search=ef_search)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def claim(self, index: str) -> None:
        """Make `shop_index`. Qdrant has no locks: let one process fill an index."""
        with _failures("claim the index"):
            if not self._client.collection_exists(self._pointers):
                only = models.VectorParams(size=1, distance=models.Distance.DOT)
                self._client.create_collection(self._pointers, vectors_config=only)
            found = self._payload(POINTER)
            if found is None:
                self._put(POINTER, {"index": index})
        if found is not None and found["index"] != index:
            raise IndexFailure(
                f"The collection {self._pointers} belongs to another index ({found['index']})."
            )

    def release(self) -> None:
        """Do nothing: there is no lock."""

    # What is searched.

    def live(self) -> Live | None:
        """Return what the pointer names."""
        with _failures("read the index"):
            if not self._client.collection_exists(self._pointers):
                return None
            found = self._payload(POINTER) or {}
        if "digest" not in found:
            return None
        return Live(version=found["version"], digest=found["digest"], side=found["side"])

    def switch(self, live: Live) -> None:
        """Replace the pointer, then the alias."""
        with _failures("switch the index"):
            index = (self._payload(POINTER) or {})["index"]
            self._put(POINTER, {"index": index, **vars(live)})
            self._alias(live.side)

    def _alias(self, side: int) -> None:
        there = {one.alias_name for one in self._client.get_aliases().aliases}
        gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._name))
        made = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=self._side(side), alias_name=self._name)
        )
        self._client.update_collection_aliases([gone, made] if self._name in there else [made])

    def search(self, live: Live, vector: Vector, limit: int) -> Sequence[Hit] | None:
        """Search the collection that the pointer named; it may be gone by now."""
        try:
            with _failures("search the index"):
                found = self._client.query_points(
                    self._side(live.side),
                    query=vector.tolist(),
                    limit=limit,
                    search_params=models.SearchParams(hnsw_ef=max(self._ef_search, limit)),
                ).points
        except IndexFailure:
            if self.live() == live:
                raise
            return None
        payloads = [(one.payload or {}, one.score) for one in found]
        return [Hit(id=one["id"], texts=one["texts"], score=score) for one, score in payloads]

    # The collections.

    def sides(self) -> Mapping[int, str]:
        """Return the versions that have a collection by the pointer's collection."""
        with _failures("list the collections"):
            found = self._scroll(self._pointers)
        return {
            int(one.id) - SOURCE_OF: (one.payload or {})["source"]
            for one in found
            if one.id != POINTER
        }

    def create(self, side: int, width: int) -> None:
        """Make a collection of cosines, unless it is there."""
        if side in self.sides():
            return
        with _failures("make a collection"):
            if not self._client.collection_exists(self._side(side)):
                cosines = models.VectorParams(size=width, distance=models.Distance.COSINE)
                self._client.create_collection(self._side(side), vectors_config=cosines)
        self.mark(side, "")

    def mark(self, side: int, source: str) -> None:
        """Keep what a collection was filled from beside the pointer."""
        with _failures("mark a collection"):
            self._put(side + SOURCE_OF, {"source": source})

    def sources(self, side: int) -> Mapping[str, str]:
        """Return the ids of a collection, with the digests of their images."""
        with _failures("read a collection"):
            payloads = (one.payload or {} for one in self._scroll(self._side(side)))
            return {one["id"]: one["source"] for one in payloads}

    def read(self, side: int, after: str, limit: int) -> Sequence[Item]:
        """Return points in the order of their keys."""
        with _failures("read a collection"):
            begin = _key(after) if after else None
            points, _ = self._client.scroll(
                self._side(side), limit=limit + 1, offset=begin, with_vectors=True
            )
        found = [_item(one) for one in points]
        return [one for one in found if one.id != after][:limit]

    def write(self, side: int, items: Sequence[Item], gone: Collection[str] = ()) -> None:
        """Put points under keys that follow from their ids, so that each is there once."""
        with _failures("write vectors"):
            if gone:
                self._client.delete(self._side(side), [_key(name) for name in gone], wait=True)
            points = [
                models.PointStruct(
                    id=_key(one.id),
                    vector=one.vector.tolist(),
                    payload={"id": one.id, "source": one.source, "texts": list(one.texts)},
                )
                for one in items
            ]
            if points:
                self._client.upsert(self._side(side), points, wait=True)

    def finish(self, side: int) -> None:
        """Do nothing: Qdrant indexes by itself."""

    def drop(self, side: int) -> None:
        """Delete a collection."""
        if side in self.sides():
            with _failures("delete a collection"):
                self._client.delete_collection(self._side(side))
                self._client.delete(self._pointers, [side + SOURCE_OF], wait=True)

    @property
    def _pointers(self) -> str:
        return f"{self._name}_index"

    def _side(self, side: int) -> str:
        return f"{self._name}_v{side}"

    def _payload(self, point: int) -> dict[str, Any] | None:
        found = self._client.retrieve(self._pointers, [point])
        return found[0].payload if found else None

    def _put(self, point: int, payload: dict[str, Any]) -> None:
        points = [models.PointStruct(id=point, vector=ONE, payload=payload)]
        self._client.upsert(self._pointers, points, wait=True)

    def _scroll(self, collection: str) -> Iterator[models.Record]:
        offset: Any = None
        while True:
            points, offset = self._client.scroll(collection, limit=AT_ONCE, offset=offset)
            yield from points
            if offset is None:
                return


def _key(name: str) -> str:
    """Return the key of an id; Qdrant takes numbers and UUIDs alone."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _item(point: models.Record) -> Item:
    payload = point.payload or {}
    vector = np.asarray(point.vector, np.float32)
    return Item(id=payload["id"], source=payload["source"], texts=payload["texts"], vector=vector)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Raise IndexFailure in the place of the errors of Qdrant's client."""
    try:
        yield
    except (ApiException, httpx.HTTPError, ValueError) as error:
        raise IndexFailure(f"Qdrant refused to {what}: {str(error).strip()}") from error
