"""No image is both learned from and asked about."""

import pytest

from core.errors import ImageInTraining
from core.jobs.queue import cancel_job
from core.jobs.rules import JobStatus
from tests.support.scene import Scene


def test_images_that_a_version_has_learned_from_or_will_become_no_suite(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    job = scene.update(model, data)
    with pytest.raises(ImageInTraining):
        scene.suite(model, data)
    cancel_job(scene.platform, job.id)
    assert scene.suite(model, data).images == data.images
    learned = scene.frozen("owl", "elk", offset=50)
    scene.update(model, learned)
    assert scene.run().version == 2
    with pytest.raises(ImageInTraining):
        scene.suite(model, learned, "learned")


def test_update_whose_images_have_become_a_suites_fails_before_it_trains(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    scene.suite(model, data)
    scene.update(model, data)  # as one that was ordered at the same moment, or is tried again
    ended = scene.run()
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "image_in_suite"
    assert scene.script.tasks == []
