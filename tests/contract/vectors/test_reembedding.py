"""Vectors of a dataset version: the rows, what a resumed job repeats, and what deletes them."""

import io
import json

import numpy as np
import pytest

from core.artifacts.store import ArtifactKind
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Side
from core.datasets.rules import DatasetRef, DatasetVersion
from core.errors import ArtifactGone, DatasetEmpty, InUse, VectorsNotFound
from core.jobs.queue import JobRequest
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.upkeep.delete import delete_dataset_version, delete_model
from core.values import Digest
from core.vectors.reembed import order_reembedding
from core.vectors.rows import Vectors
from core.vectors.stored import StoredVectors
from tests.support.erasures import entry_of, erase
from tests.support.erasures import order as order_erasure
from tests.support.factories import NOW, TESTER
from tests.support.learning.tiny_tools import WIDTH, vector
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene
from tests.support.storage.collecting import tidy

MANY = 1000  # forms: no two images have the same bytes


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.vectors.reembed.PART", 3)


@pytest.fixture
def model(scene: Scene) -> Model:
    return scene.model()


@pytest.fixture
def data(scene: Scene) -> DatasetVersion:
    return scene.frozen("cat", "dog", each=2, forms=MANY)  # eight images


def order(scene: Scene, data: DatasetVersion) -> Job:
    return order_reembedding(
        scene.platform,
        SilentNotifier(),
        JobRequest(principal=TESTER),
        model="demo",
        version=1,
        dataset=data.dataset,
        dataset_version=data.number,
    )


def pixels_of(scene: Scene, data: DatasetVersion) -> list[Digest]:
    entries = read_manifest(scene.platform.artifacts, data.manifest).entries
    return [entry.pixels for entry in entries]


def stored(scene: Scene, model: Model, data: DatasetVersion) -> StoredVectors:
    with scene.platform.transactions(read_only=True) as work:
        ref = DatasetRef(dataset=data.dataset, version=data.number)
        return work[Vectors].get(model.id, 1, ref)


def run(scene: Scene, model: Model, data: DatasetVersion) -> StoredVectors:
    order(scene, data)
    job = scene.run()
    assert job.status is JobStatus.SUCCEEDED, job.error
    return stored(scene, model, data)


def test_each_image_has_a_row_in_the_order_of_pixels(
    scene: Scene, model: Model, data: DatasetVersion
) -> None:
    found, artifacts = run(scene, model, data), scene.platform.artifacts
    file, pixels = artifacts.get(found.artifact), pixels_of(scene, data)
    array = np.load(io.BytesIO(file))
    assert (array.dtype, array.shape) == (np.dtype("<f4"), (8, WIDTH))
    assert (found.rows, found.width, found.size) == (8, WIDTH, len(file))
    assert array.tobytes() == b"".join(vector(found.digest, one) for one in pixels)
    lines = [json.loads(line) for line in artifacts.get(found.images).splitlines()]
    assert [line["pixels"] for line in lines] == pixels
    assert {text for line in lines for text in line["texts"]} == {"cat", "dog"}


def test_a_job_that_is_stopped_resumes_after_its_last_part_and_ends_alike(
    scene: Scene, model: Model, data: DatasetVersion
) -> None:
    whole, embedder = run(scene, model, data), scene.script.embedder
    embedder.embedded.clear()

    def stop() -> None:
        scene.stopping = len(embedder.embedded) == 6

    embedder.meanwhile = stop
    job = order(scene, data)
    assert scene.run().status is JobStatus.QUEUED
    assert embedder.embedded == pixels_of(scene, data)
    scene.stopping = False
    embedder.embedded.clear()
    assert tidy(scene).kept[ArtifactKind.VECTORS].count == 2 + 2  # parts, and what is stored
    ended = scene.run()
    assert (ended.id, ended.status) == (job.id, JobStatus.SUCCEEDED)
    assert embedder.embedded == pixels_of(scene, data)[6:]
    assert stored(scene, model, data).artifact == whole.artifact


def test_a_part_that_is_gone_is_computed_again(
    scene: Scene, model: Model, data: DatasetVersion, artifacts: MemoryArtifacts
) -> None:
    before, embedder = set(artifacts.digests()), scene.script.embedder
    embedder.meanwhile = lambda: setattr(scene, "stopping", len(embedder.embedded) == 6)
    order(scene, data)
    scene.run()
    for digest in set(artifacts.digests()) - before:
        artifacts.delete(digest)
    scene.stopping, embedder.meanwhile = False, lambda: None
    embedder.embedded.clear()
    assert scene.run().status is JobStatus.SUCCEEDED
    assert embedder.embedded == pixels_of(scene, data)


def test_a_job_that_resumes_after_an_erasure_deletes_the_parts_from_before(
    scene: Scene, model: Model, data: DatasetVersion, artifacts: MemoryArtifacts
) -> None:
    pixels, embedder = pixels_of(scene, data)[0], scene.script.embedder
    before = set(artifacts.digests())
    embedder.meanwhile = lambda: setattr(scene, "stopping", len(embedder.embedded) == 6)
    job = order(scene, data)
    assert scene.run().status is JobStatus.QUEUED
    parts = set(artifacts.digests()) - before
    assert len(parts) == 2 + 1  # and the list
    scene.stopping, embedder.meanwhile = False, lambda: None
    order_erasure(scene, pixels)
    while scene.job(job).status is JobStatus.QUEUED:
        scene.run()
    assert scene.job(job).status is JobStatus.SUCCEEDED
    assert stored(scene, model, data).rows == 7
    assert parts.isdisjoint(artifacts.digests())


def test_an_erasure_deletes_vectors_of_the_image_at_once(
    scene: Scene, model: Model, data: DatasetVersion, artifacts: MemoryArtifacts
) -> None:
    other = scene.frozen("owl", "bee", each=2, offset=50, forms=MANY)
    gone, kept = run(scene, model, data), run(scene, model, other)
    erasure = erase(scene, entry_of(scene, data, Side.HOLDOUT).pixels)
    assert set(erasure.findings.vectors) == {gone.artifact, gone.images}
    assert not artifacts.has(gone.artifact)
    assert not artifacts.has(gone.images)
    with pytest.raises(VectorsNotFound):
        stored(scene, model, data)
    assert stored(scene, model, other) == kept


def test_dataset_versions_are_reembedded_at_once_and_each_of_them_by_one_worker(
    scene: Scene, model: Model, data: DatasetVersion
) -> None:
    other = scene.frozen("owl", "bee", each=2, offset=50, forms=MANY)
    first, second = order(scene, data), order(scene, other)
    order(scene, data)
    with scene.platform.transactions() as work:
        claimed = [work[Jobs].claim(f"w{number}", 60, 3) for number in range(3)]
    assert [job and job.id for job in claimed] == [first.id, second.id, None]


def test_vectors_are_not_stored_if_an_image_is_erased_meanwhile(
    scene: Scene, model: Model, data: DatasetVersion, artifacts: MemoryArtifacts
) -> None:
    pixels = entry_of(scene, data, Side.TRAIN).pixels
    order(scene, data)
    embedder = scene.script.embedder

    def meanwhile() -> None:
        if len(embedder.embedded) == 8:
            order_erasure(scene, pixels)
            assert scene.run().status is JobStatus.SUCCEEDED  # in a lane of its own

    embedder.meanwhile = meanwhile
    ended = scene.run()
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "image_erased"
    with pytest.raises(VectorsNotFound):
        stored(scene, model, data)


def test_a_dataset_version_is_kept_for_a_job_and_takes_its_vectors_with_it(
    scene: Scene, model: Model, data: DatasetVersion
) -> None:
    job = order(scene, data)
    with pytest.raises(InUse) as refused:
        delete_dataset_version(scene.platform, dataset=data.dataset, version=1)
    assert refused.value.facts == {"jobs": [job.id]}
    assert scene.run().status is JobStatus.SUCCEEDED
    delete_dataset_version(scene.platform, dataset=data.dataset, version=1)
    with pytest.raises(VectorsNotFound):
        stored(scene, model, data)


def test_bytes_are_kept_as_long_as_the_row_and_the_row_as_long_as_the_model(
    scene: Scene, model: Model, data: DatasetVersion, artifacts: MemoryArtifacts
) -> None:
    before = set(artifacts.digests())
    run(scene, model, data)
    found = run(scene, model, data)
    assert set(artifacts.digests()) - before == {found.artifact, found.images}
    with scene.platform.transactions(read_only=True) as work:
        assert work[Vectors].all(model.id, 1) == [found]
    assert tidy(scene).kept[ArtifactKind.VECTORS].count == 2
    delete_model(scene.platform, model=model.name, reason="a test")
    with pytest.raises(VectorsNotFound):
        stored(scene, model, data)
    tidy(scene)
    assert not artifacts.has(found.artifact)


def test_what_could_not_start_is_refused(scene: Scene, model: Model, data: DatasetVersion) -> None:
    erase(scene, *pixels_of(scene, data))
    with pytest.raises(DatasetEmpty):
        order(scene, data)
    with scene.platform.transactions() as work:
        work[Versions].release_weights(model.id, 1, NOW)
        work.commit()
    with pytest.raises(ArtifactGone):
        order(scene, data)
