"""The recall of answers: against an exact search, and that of an index that was made just now."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.index.scene import MODEL, PICTURES, Scene
from demo.images import captioned
from perennial.indexes.pgvector import PgVectorStore
from perennial.indexes.sources import batches, embed_patiently, vector_of
from perennial.indexes.store import Item, Live

DEPTH = 10
EQUAL = 1e-5  # of cosines: images that are as near as that may change places
AT_ONCE = 100  # texts and rows

# Texts that the index is searched for.
QUERIES = tuple(dict.fromkeys(one.text for one in captioned("twemoji")[-200:]))


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The vectors of a version, as the service stores them, and how near each is to each query."""

    digest: str
    vectors: dict[str, NDArray[np.float32]]  # by id
    queries: NDArray[np.float32]  # (query, width)

    @cached_property
    def scores(self) -> Sequence[dict[str, float]]:
        """The cosine of each image, by query."""
        found = self.queries @ np.stack(list(self.vectors.values())).T
        return [dict(zip(self.vectors, row.tolist(), strict=True)) for row in found]

    @cached_property
    def enough(self) -> Sequence[float]:
        """The least cosine of the ten nearest images, by query."""
        return [sorted(row.values())[-DEPTH] - EQUAL for row in self.scores]

    def recall(self, query: int, ids: Collection[str]) -> float:
        """Return the share of the ten nearest images that an answer has."""
        scores = self.scores[query]
        near = [name for name in set(ids) if scores.get(name, -2.0) >= self.enough[query]]
        return min(len(near), DEPTH) / DEPTH


def truth_of(scene: Scene, version: int) -> Truth:
    """Return the vectors of a version, and those of the queries."""
    asked = (MODEL, version, PICTURES, 1)
    file = scene.client.vectors.download(*asked, to=_new(scene.place / "truth.npy"))
    lines = scene.client.vectors.download_images(*asked, to=_new(scene.place / "truth.jsonl"))
    names = [json.loads(line)["pixels"] for line in lines.read_text("utf-8").splitlines()]
    queries = [
        vector_of(str(row["embedding"]))
        for texts in batches(iter(QUERIES), AT_ONCE)
        for row in embed_patiently(scene.client, f"{MODEL}:{version}", texts=texts)["data"]
    ]
    return Truth(
        digest=scene.client.versions.get(MODEL, version)["digest"],
        vectors=dict(zip(names, np.load(file), strict=True)),
        queries=np.stack(queries),
    )


def _new(path: Path) -> Path:
    path.unlink(missing_ok=True)
    return path


def fresh_recall(scene: Scene, truth: Truth, name: str) -> float:
    """Make an index of a version's vectors; return its mean recall over all queries."""
    store = PgVectorStore(scene.address, name)
    try:
        store.claim(name)
        items = [
            Item(id=one, source=one, texts=[], vector=vector)
            for one, vector in truth.vectors.items()
        ]
        store.create(1, len(items[0].vector))
        store.write(1, items)
        store.finish(1)
        live = Live(version=1, digest=truth.digest, side=1)
        store.switch(live)
        found = [store.search(live, query, DEPTH) or () for query in truth.queries]
    finally:
        store.close()
    answers = ([hit.id for hit in hits] for hits in found)
    return float(np.mean([truth.recall(query, ids) for query, ids in enumerate(answers)]))
