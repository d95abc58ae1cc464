"""The behaviour of each store of an index: PostgreSQL with pgvector, and Qdrant's local mode.

The local mode is Qdrant's client with its data in memory. It shows what is written in which order,
not how a server behaves.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from core.gate.rules import Verdict
from perennial.client import Client
from perennial.indexes.keep import Keeper
from perennial.indexes.pgvector import PgVectorStore
from perennial.indexes.search import search
from perennial.indexes.sources import DatasetSource
from perennial.indexes.store import IndexFailure, Item, Live, Store
from perennial.requests import ImageFile
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_candidate, a_root
from tests.support.learning.tiny_tools import vector
from tests.unit.client.commands.conftest import Site

# The local mode searches exactly, and warns whoever asks for anything else.
pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")

_numbers = itertools.count(1)


@pytest.fixture(params=["pgvector", "qdrant"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store of nothing yet."""
    name = f"store{next(_numbers)}"
    if request.param == "pgvector":
        made: Any = PgVectorStore(request.getfixturevalue("address"), name)
    else:
        from qdrant_client import QdrantClient  # half a second, if every process loads it

        from perennial.indexes.qdrant import QdrantStore

        made = QdrantStore(QdrantClient(":memory:"), name)
    yield made
    made.close()


def item(name: str, *values: float, source: str = "a") -> Item:
    return Item(id=name, source=source, texts=["bag"], vector=np.array(values, np.float32))


def test_a_side_has_each_image_once_and_the_newest_of_it(store: Store) -> None:
    store.claim("idx_1")
    assert store.live() is None
    store.create(1, 2)
    store.create(1, 2)
    store.write(1, [item("one", 1, 0), item("two", 0, 1)])
    store.write(1, [item("two", 1, 1, source="b"), item("three", 1, 0)], gone=["one"])
    assert store.sources(1) == {"two": "b", "three": "a"}
    store.finish(1)
    store.finish(1)
    store.mark(1, "products:3")
    assert store.sides() == {1: "products:3"}
    first = store.read(1, "", 1)
    rest = store.read(1, first[0].id, 5)
    assert {one.id for one in (*first, *rest)} == {"two", "three"}
    assert len(first) == len(rest) == 1
    store.release()


def test_a_name_whose_tables_postgresql_would_cut_to_one_is_refused() -> None:
    with pytest.raises(IndexFailure, match="at most 48 characters"):
        PgVectorStore("", 49 * "n")


def test_what_is_searched_changes_from_one_moment_to_the_next(store: Store) -> None:
    store.claim("idx_1")
    for side, texts in ((1, (1, 0)), (2, (0, 1))):
        store.create(side, 2)
        store.write(side, [item("one", *texts), item("two", -1, -1)])
    one = Live(version=1, digest="d1", side=1)
    store.switch(one)
    assert store.live() == one
    query = np.array([1, 0], np.float32)
    hits = store.search(one, query, 5)
    assert hits is not None
    assert [(hit.id, hit.texts) for hit in hits] == [("one", ["bag"]), ("two", ["bag"])]
    assert hits[0].score == pytest.approx(1)
    held = Live(version=3, digest="d3", side=1)  # the same vectors for another version
    for live in (Live(version=2, digest="d2", side=2), held):
        store.switch(live)
        assert store.live() == live
    store.drop(2)
    assert store.sides().keys() == {1}
    store.drop(2)


def test_a_search_in_a_graph_of_postgresql_finds_as_many_as_it_is_asked_for(address: str) -> None:
    """By itself pgvector finds 40 at most, and misses some of the nearest."""
    at = f"{address}{'&' if '?' in address else '?'}options=-c%20enable_seqscan%3Doff"
    live, drawn = Live(version=1, digest="d1", side=1), np.random.default_rng(0)
    store = PgVectorStore(at, f"store{next(_numbers)}")
    try:
        store.claim("idx_1")
        store.create(1, 8)
        store.write(1, [item(str(n), *drawn.normal(size=8)) for n in range(300)])
        store.finish(1)
        store.switch(live)
        for limit in (100, 250):
            found = store.search(live, np.ones(8, np.float32), limit)
            assert found is not None
            assert len(found) == limit
    finally:
        store.close()


@pytest.mark.parametrize(
    ("given", "limit", "candidates"), [({}, 10, 200), ({"ef_search": 50}, 10, 50), ({}, 300, 300)]
)
def test_a_search_in_a_graph_of_qdrant_looks_among_so_many_candidates(
    given: dict[str, int], limit: int, candidates: int
) -> None:
    from qdrant_client import QdrantClient

    from perennial.indexes.qdrant import QdrantStore

    asked = []

    class Asked(QdrantClient):
        def query_points(self, *given: Any, **named: Any) -> Any:
            asked.append(named["search_params"].hnsw_ef)
            return super().query_points(*given, **named)

    store = QdrantStore(Asked(":memory:"), f"store{next(_numbers)}", **given)
    store.claim("idx_1")
    store.create(1, 2)
    store.search(Live(version=1, digest="d1", side=1), np.ones(2, np.float32), limit)
    assert asked == [candidates]


def test_a_store_is_of_one_index(store: Store) -> None:
    store.claim("idx_1")
    store.release()
    with pytest.raises(IndexFailure, match="belongs to another index"):
        store.claim("idx_2")
    store.claim("idx_1")


def test_an_index_in_qdrant_moves_after_kills_at_every_write_and_back(
    site: Site, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perennial.indexes.qdrant import QdrantStore
    from tests.support.storage.deadly_qdrant import DeadlyQdrant, Killed

    name = f"qdrant{next(_numbers)}"
    model, client, qdrant = a_root(site.platform, name), site.client, DeadlyQdrant(":memory:")
    client.datasets.create(name)
    images = [("cat", ImageFile(file_name="a.png", data=picture(n))) for n in range(4)]
    client.datasets.upload(name, images)
    client.datasets.freeze(name)
    client.indexes.create(name, name, store="qdrant", dataset=name)
    version = a_candidate(site.platform, model, verdict=Verdict.PASSED).number
    wanted = {one["pixels"]: one["pixels"] for one in client.datasets.frozen_images(name, 1)}
    store = QdrantStore(qdrant, name)
    source = DatasetSource(client, name, name, tmp_path, lambda _: None)
    keeper = Keeper(client, store, source, model=name, index=name)
    keeper.sync()
    for moment in itertools.count(1):
        qdrant.left = moment
        try:
            keeper.move(version)
        except Killed:
            assert _searched(client, store, name) == wanted
        else:
            break
    qdrant.left = 0
    assert moment > 4
    live = store.live()
    assert live is not None
    assert (live.version, live.side) == (version, version)
    assert _searched(client, store, name) == wanted
    first = min(wanted)
    monkeypatch.setattr(site.oracle, "vectors", lambda digest, _: vector(digest, first))
    found = search(client, store, name, text="any", limit=1)
    assert (found.live.version, found.hits[0].id) == (version, first)
    client.aliases.roll_back(name, reason="worse")
    keeper.sync()
    live = store.live()
    assert live is not None
    assert live.version == 1


def _searched(client: Client, store: Store, name: str) -> object:
    """The vectors that are searched, which must be those of one version, whole."""
    live = store.live()
    assert live is not None
    assert live.digest == client.versions.get(name, live.version)["digest"]
    return store.sources(live.side)
