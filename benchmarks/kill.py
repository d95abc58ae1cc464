"""SIGKILL the worker at random moments of one update: does it still end in the same bits?

`make bench-kill` (KILLS=5 SEED=0): one undisturbed update and one whose worker child is killed
again and again, from the same parent, data and recipe. Prints where it was hit, and both digests.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks.bench import publish
from core.bootstrap import build, close, decoder, migrate
from core.domain.dataset import DatasetKind
from core.domain.recipe import Recipe
from core.domain.update import Job, JobStatus, Queue, UpdateOrder
from core.domain.values import DatasetId, JobId
from core.ports import Platform
from core.settings import Settings
from core.use_cases.datasets import create_dataset, freeze_version, receive_file, record_uploads
from core.use_cases.jobs import Request, create_model, order_update
from core.use_cases.suites import ensure_default_policy
from demo.pack_reader import by_class

RECIPE = Recipe(epochs=6, batch_size=25, seed=7)
PER_CLASS = 30
REQUEST = Request(actor="benchmark")
PATIENCE_S = 900.0

T = TypeVar("T")


class Silence:
    """No doorbell: the supervisor's sweeper finds the work."""

    def ring(self, job: JobId, queue: Queue) -> None:
        """Say nothing."""


def main() -> int:
    """Run both updates; 0 when every kill hit and the digests are equal."""
    kills, seed = int(os.environ.get("KILLS", "5")), int(os.environ.get("SEED", "0"))
    with tempfile.TemporaryDirectory(prefix="perennial-kill-") as home:
        settings = Settings(
            home=Path(home),
            checkpoint_seconds=1.0,
            sweep_seconds=0.5,
            lost_attempts=kills + 1,  # giving up is not what is measured here
        )
        migrate(settings)
        platform = build(settings)
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "worker.supervisor", "--exit-with-parent"],
            stdin=subprocess.PIPE,
            env=os.environ
            | {
                "PERENNIAL_HOME": home,
                "PERENNIAL_CHECKPOINT_SECONDS": str(settings.checkpoint_seconds),
                "PERENNIAL_SWEEP_SECONDS": str(settings.sweep_seconds),
                "PERENNIAL_LOST_ATTEMPTS": str(settings.lost_attempts),
            },
        )
        try:
            hits, found = _measure(platform, supervisor.pid, kills, random.Random(seed))
        finally:
            supervisor.terminate()
            supervisor.wait()
            close(platform)
    publish("kill", hits, kills=kills, seed=seed, recipe=RECIPE.to_json(), **found)
    print(json.dumps(found, indent=2))
    return 0 if found["equal"] and found["versions"] == 1 and len(hits) == kills else 1


def _measure(
    platform: Platform, supervisor: int, kills: int, moments: random.Random
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    ensure_default_policy(platform)
    root = create_model(platform, Silence(), REQUEST, name="killed", base="bundled")
    _until(lambda: _ended(platform, root))
    dataset = _upload(platform)
    undisturbed = _order(platform, dataset)
    ended = _until(lambda: _ended(platform, undisturbed))
    if ended.started_at is None or ended.finished_at is None:
        raise SystemExit(f"the undisturbed update did not run: {ended.error}")
    lasted_s = (ended.finished_at - ended.started_at).total_seconds()

    job = _order(platform, dataset)
    hits: list[dict[str, Any]] = []
    steps = _steps(platform, undisturbed)
    for kill, step in enumerate(sorted(moments.sample(range(1, steps), kills)), start=1):
        _until(partial(_reached, platform, job, step))
        time.sleep(moments.uniform(0, lasted_s / steps))  # anywhere within a step
        hit = _find(platform, job)
        for child in psutil.Process(supervisor).children():
            child.kill()
        hits.append(
            {
                "kill": kill,
                "attempt": hit.attempt,
                "phase": hit.phase,
                "step": hit.progress.step,
                "steps": hit.progress.total,
            }
        )
    killed = _until(lambda: _ended(platform, job))
    first, second = _digest(platform, ended), _digest(platform, killed)
    return hits, {
        "undisturbed_s": round(lasted_s, 1),
        "status": killed.status.value,
        "attempts": killed.attempt,
        "versions": _versions(platform, job),
        "undisturbed_digest": first,
        "killed_digest": second,
        "equal": first is not None and first == second,
    }


def _upload(platform: Platform) -> DatasetId:
    """Fashion-MNIST's products as a frozen dataset version."""
    dataset = create_dataset(platform, "products", DatasetKind.LABELLED)
    opened = decoder(platform.settings)
    try:
        uploads = [
            receive_file(
                platform.artifacts.put,
                opened,
                DatasetKind.LABELLED,
                text=name,
                file_name=image.file_name,
                data=image.data,
            )
            for name, images in by_class("fashion_mnist", "train").items()
            for image in images[:PER_CLASS]
        ]
    finally:
        opened.close()
    record_uploads(platform, dataset, uploads)
    freeze_version(platform, dataset.name)
    return dataset.id


def _order(platform: Platform, dataset: DatasetId) -> Job:
    order = UpdateOrder(
        dataset=dataset, dataset_version=1, recipe=RECIPE, parent=1, auto_promote=False
    )
    return order_update(platform, Silence(), REQUEST, model="killed", order=order)


def _find(platform: Platform, job: Job) -> Job:
    with platform.transactions(read_only=True) as work:
        return work.jobs.get(job.id)


def _ended(platform: Platform, job: Job) -> Job | None:
    found = _find(platform, job)
    return found if found.status.done else None


def _reached(platform: Platform, job: Job, step: int) -> Job | None:
    found = _find(platform, job)
    trained = found.phase == "training" and found.progress.step >= step
    return found if trained or found.version is not None or found.status.done else None


def _steps(platform: Platform, job: Job) -> int:
    """How many steps an update was trained for."""
    with platform.transactions(read_only=True) as work:
        events = work.jobs.events(job.id, 10_000, 0)
    return max(int(e.data["total"]) for e in events if e.data.get("phase") == "training")


def _digest(platform: Platform, job: Job) -> str | None:
    if job.status is not JobStatus.SUCCEEDED or job.version is None:
        return None
    with platform.transactions(read_only=True) as work:
        return work.versions.get(job.model, job.version).digest


def _versions(platform: Platform, job: Job) -> int:
    with platform.transactions(read_only=True) as work:
        return sum(version.job == job.id for version in work.versions.all(job.model))


def _until(found: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.05)
    raise SystemExit(f"did not happen within {PATIENCE_S:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
