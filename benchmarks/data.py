"""Measure how long training waits for its images: `make bench-data`.

The bundled model learns products of the demo's pack from an artifact store. The first epoch decodes
every image, the second uses the decoded ones. Batches are prepared ahead in a thread, as in the
service, or each when its step begins. `waited` is the share of an epoch's time that training
spends waiting for data.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.evaluate import CPU, products
from benchmarks.output import publish
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.clip.machine import Prefetcher
from core.evaluation.queries import ClassQuery
from core.learning.distributed import repeatable
from core.learning.setup import PreparedRun, prepare_run
from core.recipes.fields import Precision
from core.recipes.rules import Recipe
from core.settings import thread_count
from core.training.trainer import TrainingSpec
from core.values import sha256

EPOCHS = ("decoding", "decoded")


def ahead(prepared: PreparedRun) -> list[tuple[float, float]]:
    """Train with batches made ahead; return (seconds, seconds waited) of each epoch."""
    run, loader = prepared.update, prepared.reading
    found = []
    with Prefetcher(loader.step, 0, run.steps) as batches:
        for _ in EPOCHS:
            began, waited = time.perf_counter(), batches.waited_s
            for _ in range(run.steps // len(EPOCHS)):
                run.advance(batches.take())
            found.append((time.perf_counter() - began, batches.waited_s - waited))
    return found


def direct(prepared: PreparedRun) -> list[tuple[float, float]]:
    """Train with each batch made in its step; return (seconds, seconds waited) of each epoch."""
    run, loader = prepared.update, prepared.reading
    found = []
    for _ in EPOCHS:
        began, waited = time.perf_counter(), 0.0
        for _ in range(run.steps // len(EPOCHS)):
            requested = time.perf_counter()
            batch = loader.step(run.step)
            waited += time.perf_counter() - requested
            run.advance(batch)
        found.append((time.perf_counter() - began, waited))
    return found


WAYS = {"ahead": ahead, "direct": direct}


def prepare(artifacts: Artifacts, images: int) -> PreparedRun:
    """Prepare a run of two epochs, with no image decoded yet."""
    model, query = products(artifacts, images)
    return prepare_run(_spec(query), model, artifacts)


def _spec(query: ClassQuery) -> TrainingSpec:
    parent = sha256(b"any")  # never loaded: parent, root and teacher are one model
    return TrainingSpec(
        parent=parent,
        root=parent,
        recipe=Recipe(epochs=len(EPOCHS), precision=Precision.FP32),
        classes=query.classes,
        learned=(),
        open_classes=(),
        images=query.entries,
        prompt=query.prompt,
    )


def main() -> None:
    """Train both ways in turn and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--images", type=int, default=1000, help="training images")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each row")
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    given = parser.parse_args()
    threads = thread_count(given.threads)
    times: dict[str, list[list[tuple[float, float]]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        artifacts = LocalArtifacts(Path(folder))
        with repeatable(0, device=CPU, threads=threads):
            for _ in range(given.repeats):
                for way, train in WAYS.items():
                    times[way].append(train(prepare(artifacts, given.images)))
    rows: list[dict[str, Any]] = []
    for way, runs in times.items():
        for epoch, name in enumerate(EPOCHS):
            rows.append(
                {
                    "batches": way,
                    "epoch": name,
                    "seconds": median(run[epoch][0] for run in runs),
                    "waited": median(run[epoch][1] / run[epoch][0] for run in runs),
                }
            )
    publish("data", rows, threads=threads, images=given.images, repeats=given.repeats)


if __name__ == "__main__":
    main()
