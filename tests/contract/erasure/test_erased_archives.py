"""Archives that may have brought an erased image."""

import pytest

from core.archives.rules import ArchiveFormat
from core.datasets.manifests import Side
from core.errors import DatabaseUnavailable
from core.jobs.orders import ImportImagesOrder, JobType
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.values import DatasetId, Digest
from tests.support.erasures import entry_of, order
from tests.support.factories import a_job_of_no_model
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene

MANY = 1000  # forms: no two images have the same bytes


def add_import(scene: Scene, dataset: DatasetId, archive: Digest, status: JobStatus) -> None:
    order_ = ImportImagesOrder(
        dataset=dataset, archive=archive, archive_format=ArchiveFormat.ZIP, archive_bytes=9
    )
    job = a_job_of_no_model(dataset, type=JobType.IMPORT_IMAGES, order=order_, status=status)
    with scene.platform.transactions() as work:
        work[Jobs].add(job)
        work.commit()


def test_archives_that_may_have_brought_it_are_deleted_unless_an_import_needs_them(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    data = scene.frozen("cat", "dog", forms=MANY)
    order(scene, entry_of(scene, data, Side.TRAIN).pixels)
    archives = [artifacts.put(f"archive {number}".encode()) for number in range(2)]
    for archive, status in zip(archives, (JobStatus.FAILED, JobStatus.QUEUED), strict=True):
        add_import(scene, data.dataset, archive, status)
    assert scene.run().type is JobType.ERASE
    assert [artifacts.has(archive) for archive in archives] == [False, True]


def test_a_resumed_erasure_leaves_an_archive_that_an_import_needs_by_now(
    scene: Scene, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = scene.frozen("cat", "dog", forms=MANY)
    order(scene, entry_of(scene, data, Side.TRAIN).pixels)
    archive = artifacts.put(b"archive")
    add_import(scene, data.dataset, archive, JobStatus.FAILED)

    def die(digest: object) -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "delete", die)
        assert scene.run().status is JobStatus.QUEUED
    add_import(scene, data.dataset, archive, JobStatus.QUEUED)
    assert scene.run().type is JobType.ERASE
    assert artifacts.has(archive)
