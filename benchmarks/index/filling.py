"""Filling an index: the service beside bare loops, and a bridge beside new vectors."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pgvector.psycopg import register_vector

from benchmarks.index.recall import DEPTH, truth_of
from benchmarks.index.scene import INDEX, MODEL, PICTURES, Scene
from benchmarks.serving.bare import TORCH, GraphLoop, Loop, TorchLoop, bare_engines
from benchmarks.serving.classify import BUNDLED
from core.registry.versions import ServingPrecision
from devtools.process_memory import cpu_seconds
from perennial.indexes.keep import Keeper, Method
from perennial.indexes.pgvector import PgVectorStore
from perennial.indexes.sources import DatasetSource

BATCH = 64
BRIDGED = "bridged"  # the name of an index of its own

# Embed all images and put them into a table with an index: by the service, and by bare loops.


def bench_filling(scene: Scene, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Fill the index by the root, and beside it tables by bare loops; the index stays at the end.

    Each loop has loaded its model before; the command of the service starts Python, waits for a
    worker, and records and checks what it does.
    """
    loops: dict[str, Loop] = {f"bare loop, {TORCH}": TorchLoop(BUNDLED, ["any"], threads)}
    for name in bare_engines(ServingPrecision.FP32):
        loops[f"bare loop, {name}"] = GraphLoop(name, BUNDLED, ["any"], threads)
    ours = "perennial index create"
    taken: dict[str, list[float]] = {name: [] for name in (ours, *loops)}
    for number in range(rounds):
        if number:
            scene.forget_index(INDEX)
            scene.client.vectors.delete(MODEL, 1, PICTURES, 1)
        began = time.perf_counter()
        scene.run("index", "create", INDEX, "--model", MODEL, "--dataset", PICTURES)
        taken[ours].append(time.perf_counter() - began)
        for name, loop in loops.items():
            taken[name].append(_bare(scene, loop))
    rows = scene.rows
    best = min(median(seconds) for name, seconds in taken.items() if name != ours)
    return [
        {
            "by": name,
            "rows": rows,
            "seconds": median(seconds),
            "least": min(seconds),
            "most": max(seconds),
            "vectors a second": rows / median(seconds),
            ": the fastest loop": best / median(seconds),
        }
        for name, seconds in taken.items()
    ]


def _bare(scene: Scene, loop: Loop) -> float:
    """Embed all images and copy them into a table; return the seconds until it is indexed."""
    files = [one.data for one in scene.images]
    began = time.perf_counter()
    with scene.connect() as connection:
        register_vector(connection)
        connection.execute("DROP TABLE IF EXISTS bare")
        width = len(loop.encode(files[:1])[0])
        connection.execute(f"CREATE TABLE bare (id int, vector vector({width}))".encode())
        with connection.cursor().copy("COPY bare FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "vector"])
            for first in range(0, len(files), BATCH):
                for place, vector in enumerate(loop.encode(files[first : first + BATCH])):
                    copy.write_row((first + place, vector))
        connection.execute("CREATE INDEX ON bare USING hnsw (vector vector_cosine_ops)")
        connection.execute("ANALYZE bare")
    return time.perf_counter() - began


# A bridge from the root's vectors to those of the live version.


def bench_bridge(scene: Scene, rounds: int) -> list[dict[str, Any]]:
    """Fill an index of its own for the live version, by a bridge and by new vectors, in turn."""
    version = scene.live()
    job = scene.client.jobs.wait(scene.client.vectors.compare(MODEL, version, baseline=1)["id"])
    assert job["started_at"]
    assert job["finished_at"]
    began, ended = map(datetime.fromisoformat, (job["started_at"], job["finished_at"]))
    report = scene.client.vectors.report(MODEL, version, 1)
    judged = [one for one in report["searches"] if one["judged"]]
    methods: tuple[Method, ...] = ("bridged", "embedded")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    recall = dict.fromkeys(methods, 0.0)
    for _ in range(rounds):
        for method in methods:
            with _keeper(scene) as (keeper, store):
                keeper.fill(1, "embedded")
                if method == "embedded":
                    scene.client.vectors.delete(MODEL, version, PICTURES, 1)
                start, worked = time.perf_counter(), _worked(scene)
                keeper.fill(version, method)
                taken[method].append((time.perf_counter() - start, _worked(scene) - worked))
                recall[method] = _recall(scene, store, version)
    rows = scene.rows
    losses = {"bridged": max(one["bridged_loss"]["upper"] for one in judged), "embedded": 0.0}
    return [
        {
            "vectors": method,
            "rows": rows,
            "seconds": median(seconds for seconds, _ in taken[method]),
            "CPU s": median(worked for _, worked in taken[method]),
            "vectors a second": rows / median(seconds for seconds, _ in taken[method]),
            "report s": (ended - began).total_seconds() if method == "bridged" else 0.0,
            "of the ten nearest": recall[method],
            "report: may lose": losses[method],
        }
        for method in methods
    ]


@contextmanager
def _keeper(scene: Scene) -> Iterator[tuple[Keeper, PgVectorStore]]:
    """Yield what fills a new index, and its store; forget both at the end."""
    scene.client.indexes.create(
        MODEL, BRIDGED, store="pgvector", dataset=PICTURES, allowed_loss=1.0
    )
    store = PgVectorStore(scene.address, BRIDGED)
    try:
        with TemporaryDirectory(dir=scene.place) as folder:
            source = DatasetSource(
                scene.client, MODEL, PICTURES, scene.place / folder, lambda _: None
            )
            yield Keeper(scene.client, store, source, model=MODEL, index=BRIDGED), store
    finally:
        store.close()
        scene.forget_index(BRIDGED)


def _worked(scene: Scene) -> float:
    """Return the CPU time of the service and of this process."""
    return cpu_seconds(scene.service.pid) + time.process_time()


def _recall(scene: Scene, store: PgVectorStore, version: int) -> float:
    """Return the recall of an exact search among the vectors of a side."""
    truth = truth_of(scene, version)
    items = store.read(version, "", len(truth.vectors) + 1)
    scores = truth.queries @ np.stack([one.vector for one in items]).T
    nearest = np.argsort(-scores, axis=1)[:, :DEPTH]
    found = [truth.recall(query, [items[n].id for n in row]) for query, row in enumerate(nearest)]
    return float(np.mean(found))
