"""Lines of versions, and the images that their updates learn from."""

from core.datasets.freeze import read_manifest
from core.datasets.manifests import ManifestEntry, Side
from core.datasets.rules import DatasetVersion
from core.jobs.rules import Job, JobStatus
from core.registry.versions import Model
from tests.support.scene import Scene


def entries(scene: Scene, data: DatasetVersion, side: Side) -> tuple[ManifestEntry, ...]:
    return read_manifest(scene.platform.artifacts, data.manifest).on(side)


def taught(scene: Scene, model: Model, *lessons: DatasetVersion) -> None:
    """Teach a line of versions, one lesson each."""
    for parent, lesson in enumerate(lessons, start=1):
        scene.update(model, lesson, parent=parent)
        assert scene.run().status is JobStatus.SUCCEEDED


def failure(ended: Job) -> object:
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    return ended.error["code"]
