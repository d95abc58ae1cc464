"""Exports: one a format, as long as the version keeps its weights."""

import pytest

from core.artifacts.store import ArtifactKind
from core.errors import ExportNotFound
from core.exports.rows import Exports
from core.registry.exports import Export, ExportFormat
from core.registry.versions import Model, Version
from tests.support.factories import NOW
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene
from tests.support.storage.collecting import NEWEST_ONLY, rejected, tidy

ONNX, FOLDER = ExportFormat.ONNX, ExportFormat.OPEN_CLIP


@pytest.fixture
def model(scene: Scene) -> Model:
    return scene.model()


def put(scene: Scene, version: Version, export_format: ExportFormat = ONNX) -> Export:
    """An export of a version, stored."""
    data = f"{version.digest} {export_format}".encode()
    export = Export(
        model=version.model,
        version=version.number,
        format=export_format,
        artifact=scene.platform.artifacts.put(data),
        size=2**40,
        check={"least_cosine_images": 0.99999},
        job=version.job,
        created_at=NOW,
    )
    with scene.platform.transactions() as work:
        work[Exports].put(export)
        work.commit()
    return export


def exports_of(scene: Scene, version: Version) -> list[Export]:
    with scene.platform.transactions(read_only=True) as work:
        return list(work[Exports].all(version.model, version.number))


def test_bytes_are_kept_as_long_as_the_row(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    export = put(scene, scene.version(model, 1))
    assert tidy(scene).kept[ArtifactKind.EXPORT].count == 1
    with scene.platform.transactions() as work:
        work[Exports].remove(model.id, 1, ONNX)
        with pytest.raises(ExportNotFound):
            work[Exports].remove(model.id, 1, ONNX)
        work.commit()
    assert tidy(scene).kept.get(ArtifactKind.EXPORT) is None
    assert not artifacts.has(export.artifact)


def test_a_version_that_gives_up_its_weights_gives_up_its_exports(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    old, newest = rejected(scene, model, 2)
    gone, kept = put(scene, old), put(scene, newest)
    tidy(scene, NEWEST_ONLY)
    assert (exports_of(scene, old), exports_of(scene, newest)) == ([], [kept])
    assert not artifacts.has(gone.artifact)
    assert artifacts.has(kept.artifact)
