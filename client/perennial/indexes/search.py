"""Search an index: the query is embedded by the version whose vectors the store has."""

from collections.abc import Sequence
from dataclasses import dataclass

from perennial.client import Client
from perennial.indexes.sources import embed_patiently, vector_of
from perennial.indexes.store import Hit, IndexFailure, Live, Store
from perennial.requests import Image

TRIES = 10  # each after the store has gone on to another version


@dataclass(frozen=True, kw_only=True)
class Found:
    """The results of a search, with the version that found them."""

    live: Live
    hits: Sequence[Hit]


def search(
    client: Client,
    store: Store,
    model: str,
    *,
    text: str | None = None,
    image: Image | None = None,
    limit: int = 10,
) -> Found:
    """Return the images nearest to a text or an image, the nearest first.

    The store is asked for its version, and the query is embedded by that one. If the store has
    gone on by the time it searches, all of this is done again. Raises IndexFailure if nothing is
    searched yet, and ServiceError.
    """
    if (text is None) is (image is None):
        raise ValueError("give either a text or an image")
    for _ in range(TRIES):
        live = store.live()
        if live is None:
            raise IndexFailure("The index is not filled yet.")
        asked = {"texts": [text]} if text is not None else {"images": [image]}
        reply = embed_patiently(
            client, f"{model}:{live.version}", **asked, expect_digest=live.digest
        )
        (row,) = reply["data"]
        if row["embedding"] is None:
            raise IndexFailure(f"The query cannot be embedded: {row['error']}")
        hits = store.search(live, vector_of(str(row["embedding"])), limit)
        if hits is not None:
            return Found(live=live, hits=hits)
    raise IndexFailure("The index went on to another version at each try.")
