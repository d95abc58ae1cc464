"""Count what searches miss in each store's graph: `python -m benchmarks.index.graphs`.

A graph of vectors (HNSW) is searched from neighbour to neighbour among a number of candidates,
and finds most of the nearest images, not all. Each store is searched with several numbers of
candidates, and the ten images that it finds are compared with the ten nearest of an exact search.
Images are those of the pack, and with `--views 10` also nine crops of each; queries are texts.

PostgreSQL is searched by the client's own store, kept from reading the whole table. Qdrant's
engine is that of the package qdrant-edge-py, which runs it without a server, if it is installed.
"""

import argparse
import io
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.index.recall import DEPTH, EQUAL, QUERIES
from benchmarks.index.scene import SUITE_IMAGES
from benchmarks.output import publish
from benchmarks.serving.bare import TorchLoop
from benchmarks.serving.classify import BUNDLED
from demo.images import named
from devtools.programs import with_pgvector
from devtools.servers import FAST, postgres_server
from perennial.indexes.pgvector import PgVectorStore
from perennial.indexes.store import EF_SEARCH, Item, Live

Vectors = NDArray[np.float32]
Search = Callable[[Vectors, int], Sequence[int]]  # of a query among so many candidates

CANDIDATES = (40, 100, EF_SEARCH, 400)
BATCH = 64
SIDE = 0.6  # of a crop, at least, in sides of the image
LIVE = Live(version=1, digest="measured", side=1)

# The vectors of images and of texts.


def embed(rows: int, views: int) -> tuple[Vectors, Vectors]:
    """Return vectors of images of the pack in a random order, always the same, and of the texts."""
    loop, chance = TorchLoop(BUNDLED, ["any"], 1), random.Random(0)
    files = [one.data for one in (*named("fashion_mnist"), *named("twemoji")[SUITE_IMAGES:])]
    chance.shuffle(files)
    shown = [*files[:rows], *(crop(one, chance) for _ in range(views - 1) for one in files[:rows])]
    chance.shuffle(shown)
    batches = (shown[first : first + BATCH] for first in range(0, len(shown), BATCH))
    images = np.concatenate([loop.encode(one) for one in batches])
    network = f"local-dir:{BUNDLED}"
    model, _ = open_clip.create_model_from_pretrained(network)
    with torch.inference_mode():
        texts = model.encode_text(open_clip.get_tokenizer(network)(QUERIES), normalize=True)
    return images, texts.numpy()


def crop(data: bytes, chance: random.Random) -> bytes:
    """Return a random part of an image."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    size = [round(side * chance.uniform(SIDE, 1)) for side in image.size]
    left, top = (
        chance.randint(0, whole - part) for whole, part in zip(image.size, size, strict=True)
    )
    out = io.BytesIO()
    image.crop((left, top, left + size[0], top + size[1])).save(out, "PNG")
    return out.getvalue()


# The stores.


@contextmanager
def in_postgresql(images: Vectors) -> Iterator[Search]:
    """Search a new graph in PostgreSQL by the client's store."""
    with postgres_server(FAST, programs=with_pgvector()) as server:
        address = server.url.format(name="postgres").replace("+psycopg", "")
        address += "&options=-c%20enable_seqscan%3Doff"
        stores = {count: PgVectorStore(address, "graph", ef_search=count) for count in CANDIDATES}
        store = stores[EF_SEARCH]
        store.claim("measured")
        store.create(1, images.shape[1])
        store.write(
            1, [Item(id=str(n), source="", texts=[], vector=one) for n, one in enumerate(images)]
        )
        store.finish(1)
        store.switch(LIVE)
        yield lambda query, count: [
            int(hit.id) for hit in stores[count].search(LIVE, query, DEPTH) or ()
        ]
        for one in stores.values():
            one.close()


@contextmanager
def in_qdrant(images: Vectors) -> Iterator[Search]:
    """Search a new graph of Qdrant's engine, with what Qdrant builds graphs by unless told."""
    import qdrant_edge as edge

    graph = edge.HnswIndexConfig(16, 100, 1)  # also where an exact search would be as fast
    config = edge.EdgeConfig(
        vectors={"": edge.EdgeVectorParams(size=images.shape[1], distance=edge.Distance.Cosine)},
        hnsw_config=graph,
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1, default_segment_number=1),
    )
    with tempfile.TemporaryDirectory() as folder:
        shard = edge.EdgeShard.create(folder, config)
        for first in range(0, len(images), BATCH):
            part = enumerate(images[first : first + BATCH], first)
            points = [edge.Point(number, one.tolist()) for number, one in part]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()

        def search(query: Vectors, count: int) -> Sequence[int]:
            asked = edge.QueryRequest(
                limit=DEPTH,
                query=edge.Query.Nearest(query.tolist()),
                params=edge.SearchParams(hnsw_ef=count),
            )
            return [hit.id for hit in shard.query(asked)]

        yield search
        shard.close()


STORES = {"pgvector": in_postgresql, "qdrant": in_qdrant}


def recalls(search: Search, images: Vectors, queries: Vectors) -> dict[int, float]:
    """Return the share of the nearest images that is found, by the number of candidates."""
    scores = queries @ images.T
    enough = np.sort(scores, axis=1)[:, -DEPTH] - EQUAL
    found: dict[int, float] = {}
    for count in CANDIDATES:
        right = [
            min(DEPTH, int((scores[n, [*search(one, count)]] >= enough[n]).sum()))
            for n, one in enumerate(queries)
        ]
        found[count] = float(np.mean(right)) / DEPTH
    return found


def main() -> None:
    """Build graphs of the same vectors in each store, and print what searches found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="images of the pack")
    parser.add_argument("--views", type=int, default=1, help="of each image; others are crops")
    parser.add_argument("--graphs", type=int, default=5, help="of each store")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=[*STORES])
    given = parser.parse_args()
    images, queries = embed(given.rows, given.views)
    rows: list[dict[str, Any]] = []
    for name in given.stores:
        each: list[dict[int, float]] = []
        for _ in range(given.graphs):
            with STORES[name](images) as search:
                each.append(recalls(search, images, queries))
        rows += [
            {
                "store": name,
                "candidates": count,
                "vectors": len(images),
                "graphs": len(each),
                "recall@10": float(np.mean([one[count] for one in each])),
                "least of a graph": min(one[count] for one in each),
            }
            for count in CANDIDATES
        ]
    publish("index-graphs", rows, asked=vars(given))


if __name__ == "__main__":
    main()
