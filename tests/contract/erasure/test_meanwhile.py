"""What others do while images are erased."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

from core.domain.datasets.split import Side
from core.domain.erasure.erasure import Retraining
from core.domain.jobs.job import Job, JobStatus
from core.use_cases.datasets.freeze import freeze
from tests.support.erasures import entry_of, order
from tests.support.factories import NOW, a_dataset, a_job, a_row, digest
from tests.support.scene import Scene

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
    with scene.platform.transactions() as work:
        work.datasets.add(draft)
        work.datasets.add_image(a_row(draft, pixels, "cat"))
        work.datasets.add_image(a_row(draft, digest("another"), "cat"))
        work.commit()
    order(scene, pixels)
    with scene.platform.transactions() as work:
        freeze(work, scene.platform.artifacts, draft, NOW)
        with running(scene) as erasing:
            work.commit()
    assert erasing.result().status is JobStatus.SUCCEEDED
    with scene.platform.transactions(read_only=True) as work:
        assert [one.replaced_by for one in work.datasets.versions(draft.id)] == [2, None]


def test_an_upload_and_an_erasure_wait_for_each_other(scene: Scene) -> None:
    data = scene.frozen("cat", "dog", forms=MANY)
    order(scene, entry_of(scene, data, Side.TRAIN).pixels)
    with scene.platform.transactions() as work:
        work.thumbnails.lock()
        with running(scene) as erasing:
            row = a_row(a_dataset(id=data.dataset), digest("another"), "cat")
            work.datasets.add_image(row)
            work.commit()
    assert erasing.result().status is JobStatus.SUCCEEDED


def test_an_order_that_has_locked_its_parent_and_an_erasure_wait_for_each_other(
    scene: Scene,
) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog", forms=MANY)
    scene.update(model, data)
    assert scene.run().status is JobStatus.SUCCEEDED
    order(scene, entry_of(scene, data, Side.TRAIN).pixels, retraining=Retraining.NONE)
    with scene.platform.transactions() as work:
        work.versions.get(model.id, 2, lock=True)
        with running(scene) as erasing:
            work.jobs.add(a_job(model))
            work.commit()
    assert erasing.result().status is JobStatus.SUCCEEDED
    assert scene.version(model, 2).erasure is not None
