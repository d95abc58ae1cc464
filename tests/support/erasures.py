"""Erasures in a scene."""

from core.domain.datasets.dataset import DatasetVersion
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Side
from core.domain.erasure.erasure import Erasure, Retraining
from core.domain.jobs.job import JobStatus
from core.domain.jobs.order import JobType
from core.domain.values import Digest
from core.use_cases.datasets.manifests import read_manifest
from core.use_cases.erasure.order_erasure import order_erasure
from core.use_cases.erasure.progress import Progress, progress_of
from core.use_cases.jobs.queue import JobRequest
from tests.support.factories import TESTER
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene


def entry_of(scene: Scene, data: DatasetVersion, side: Side, index: int = 0) -> ManifestEntry:
    """One of the images of a dataset version."""
    return read_manifest(scene.platform.artifacts, data.manifest).on(side)[index]


def order(scene: Scene, *pixels: Digest, retraining: Retraining = Retraining.ALL) -> Erasure:
    """An erasure that waits."""
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
        return work.erasures.get(erasure.id)


def followed(scene: Scene, erasure: Erasure) -> Progress:
    """Return the progress of an erasure."""
    with scene.platform.transactions(read_only=True) as work:
        (progress,) = progress_of(work, [work.erasures.get(erasure.id)])
    return progress
