"""Erasures in a scene."""

from core.datasets.freeze import read_manifest
from core.datasets.manifests import ManifestEntry, Side
from core.datasets.rules import DatasetVersion
from core.erasure.order import Progress, order_erasure, progress_of
from core.erasure.rows import Erasures
from core.erasure.rules import Erasure, Retraining
from core.jobs.orders import JobType
from core.jobs.queue import JobRequest
from core.jobs.rules import JobStatus
from core.values import Digest
from tests.support.factories import TESTER
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene


def entry_of(scene: Scene, data: DatasetVersion, side: Side, index: int = 0) -> ManifestEntry:
    return read_manifest(scene.platform.artifacts, data.manifest).on(side)[index]


def order(scene: Scene, *pixels: Digest, retraining: Retraining = Retraining.ALL) -> Erasure:
    return order_erasure(
        scene.platform,
        SilentNotifier(),
        JobRequest(principal=TESTER),
        images=pixels,
        reason="asked for",
        retraining=retraining,
    )


def erase(scene: Scene, *pixels: Digest, retraining: Retraining = Retraining.ALL) -> Erasure:
    """An erasure whose own job has run; the updates that it has ordered wait."""
    erasure = order(scene, *pixels, retraining=retraining)
    job = scene.run()
    assert job.type is JobType.ERASE
    assert job.status is JobStatus.SUCCEEDED, job.error
    with scene.platform.transactions(read_only=True) as work:
        return work[Erasures].get(erasure.id)


def followed(scene: Scene, erasure: Erasure) -> Progress:
    with scene.platform.transactions(read_only=True) as work:
        (progress,) = progress_of(work, [work[Erasures].get(erasure.id)])
    return progress
