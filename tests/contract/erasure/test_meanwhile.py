"""Uploads, freezes, updates and deletions while images are erased."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from unittest.mock import Mock

import pytest

from core.datasets.freeze import freeze, read_manifest
from core.datasets.manifests import ManifestEntry, Part, Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetVersion
from core.datasets.thumbnail_rows import Thumbnails
from core.erasure.rules import Retraining
from core.errors import ArtifactMissing
from core.jobs.orders import EvaluateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Monitor
from core.registry.version_rows import Versions
from tests.support.erasures import entry_of, erase, order
from tests.support.factories import NOW, a_dataset, a_job, a_row, digest
from tests.support.scene import Scene, nothing

MANY = 1000  # forms: no two images have the same bytes

A_WHILE_S = 0.3  # for the other transaction to come to a lock; in a shorter time, less is tested


@contextmanager
def running(scene: Scene) -> Iterator[Future[Job]]:
    """A worker that runs the next job beside the test."""
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(scene.run)
        with suppress(TimeoutError):
            started.result(A_WHILE_S)
        yield started


def test_a_version_that_is_frozen_during_an_erasure_is_replaced_as_well(scene: Scene) -> None:
    data, draft = scene.frozen("cat", "dog", forms=MANY), a_dataset()
    pixels = entry_of(scene, data, Side.TRAIN).pixels
    scene.draft(draft, *(a_row(draft, one, "cat") for one in (pixels, digest("another"))))
    order(scene, pixels)
    with scene.platform.transactions() as work:
        freeze(work, scene.platform.artifacts, draft, NOW)
        with running(scene) as erasing:
            work.commit()
    assert erasing.result().status is JobStatus.SUCCEEDED
    with scene.platform.transactions(read_only=True) as work:
        assert [one.replaced_by for one in work[Datasets].versions(draft.id)] == [2, None]


def test_no_priority_passes_an_erasure_and_no_later_order_what_it_trains_again(
    scene: Scene,
) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog", forms=MANY)
    scene.learn(model, data)
    asked = EvaluateOrder(version=1)
    before = scene.order(scene.model("before"), asked, priority=9)
    erasure = order(scene, entry_of(scene, data, Side.TRAIN).pixels)
    assert scene.run().id == erasure.job
    after = scene.order(scene.model("after"), asked, priority=9)
    first, again, last = (scene.run() for _ in range(3))
    assert (first.id, last.id) == (before.id, after.id)
    assert again.metadata == {"erasure": erasure.id}


def test_an_upload_and_an_erasure_wait_for_each_other(scene: Scene) -> None:
    data = scene.frozen("cat", "dog", forms=MANY)
    order(scene, entry_of(scene, data, Side.TRAIN).pixels)
    with scene.platform.transactions() as work:
        work[Thumbnails].lock()
        with running(scene) as erasing:
            row = a_row(a_dataset(id=data.dataset), digest("another"), "cat")
            work[Datasets].add_images(data.dataset, [row])
            work.commit()
    assert erasing.result().status is JobStatus.SUCCEEDED


def test_an_order_that_has_locked_its_parent_and_an_erasure_wait_for_each_other(
    scene: Scene,
) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog", forms=MANY)
    scene.learn(model, data)
    order(scene, entry_of(scene, data, Side.TRAIN).pixels, retraining=Retraining.NONE)
    with scene.platform.transactions() as work:
        work[Versions].get(model.id, 2, lock=True)
        with running(scene) as erasing:
            work[Jobs].add(a_job(model))
            work.commit()
    assert erasing.result().status is JobStatus.SUCCEEDED
    assert scene.version(model, 2).erasure is not None


def test_an_update_that_misses_an_image_says_that_it_was_erased(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog", forms=MANY)

    def erase_and_miss(_: Monitor) -> None:
        scene.script.training = nothing
        erase(scene, entry_of(scene, data, Side.TRAIN).pixels)
        raise ArtifactMissing

    scene.script.training = erase_and_miss
    scene.update(model, data)
    ended = scene.run()
    assert (ended.error or {})["code"] == "image_erased"


@pytest.mark.parametrize("missed", [True, False])
def test_an_evaluation_goes_on_without_an_image_that_is_erased_meanwhile(
    scene: Scene, missed: bool
) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog", each=15, forms=MANY)
    tested = [one for one in holdout(scene, data) if one.part is Part.TEST]

    def erase_and_miss(_: Monitor) -> None:
        scene.script.evaluating = nothing
        erase(scene, tested[0].pixels)
        if missed:
            raise ArtifactMissing

    scene.script.evaluating = erase_and_miss
    scene.update(model, data)
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    assert scene.report(scene.version(model, 2))["images"] == {"version 2": len(tested) - 1}


def test_an_evaluation_that_misses_an_image_that_was_not_erased_fails(scene: Scene) -> None:
    scene.script.evaluating = Mock(side_effect=ArtifactMissing)
    scene.update(scene.model(), scene.frozen("cat", "dog", each=15))
    ended = scene.run()
    assert (ended.error or {})["code"] == "artifact_missing"


def holdout(scene: Scene, data: DatasetVersion) -> tuple[ManifestEntry, ...]:
    return read_manifest(scene.platform.artifacts, data.manifest).on(Side.HOLDOUT)
