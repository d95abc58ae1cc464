"""Erasures after others, while the updates of these still wait, or after they have run."""

from collections import Counter

import pytest

from core.erasure.order import certify
from core.erasure.rules import ErasureStatus, Retraining
from core.errors import InUse, TrainingDiverged
from core.job_types.retry import retry_job
from core.jobs.queue import JobRequest
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.registry.versions import Model
from core.upkeep.delete import delete_dataset_version, delete_version
from tests.support.erasures import erase, followed
from tests.support.factories import TESTER
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene, nothing

MANY = 1000  # forms: no two images have the same bytes


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model that has learned two lessons."""
    made = scene.model()
    for parent in (1, 2):
        scene.update(made, scene.frozen(*"ab", offset=50 * parent, forms=MANY), parent=parent)
        assert scene.run().status is JobStatus.SUCCEEDED
    return made


@pytest.mark.parametrize("done", range(3))
def test_a_line_is_trained_again_however_far_the_earlier_erasure_has_come(
    scene: Scene, model: Model, done: int
) -> None:
    images = scene.script.tasks[0].images
    first = erase(scene, images[0].pixels)
    for _ in range(done):
        assert scene.run().status is JobStatus.SUCCEEDED
    second = erase(scene, images[1].pixels)
    while followed(scene, second).status is ErasureStatus.RETRAINING:
        scene.run()
    assert [followed(scene, one).status for one in (first, second)] == [ErasureStatus.DONE] * 2
    with scene.platform.transactions(read_only=True) as work:
        ended = Counter(job.status for job in work[Jobs].page(99, None))
    assert (ended[JobStatus.CANCELLED], ended[JobStatus.FAILED]) == (2 - done, 0)
    clean = [one for one in scene.versions(model) if one.erasure is None]
    assert [one.parent for one in clean] == [None, 1, clean[1].number]
    certificate = certify(scene.platform, second.id)["versions"]
    by_parent = {1: clean[1].digest, 2: clean[2].digest}
    assert {one["digest_after"] for one in certificate} == set(by_parent.values())


def test_what_replaces_a_dataset_version_is_kept_for_the_next_erasure(
    scene: Scene, model: Model
) -> None:
    images = scene.script.tasks[0].images
    erasure = erase(scene, images[0].pixels, retraining=Retraining.NONE)
    dataset = erasure.findings.datasets[0].dataset
    with pytest.raises(InUse) as told:
        delete_dataset_version(scene.platform, dataset=dataset, version=2)
    assert told.value.facts == {"replaced": [1]}
    for version in (3, 2):
        delete_version(scene.platform, model=model.name, version=version)
    for version in (1, 2):
        delete_dataset_version(scene.platform, dataset=dataset, version=version)


def test_a_failed_update_is_retried_without_what_was_erased_since(
    scene: Scene, model: Model
) -> None:
    images = scene.script.tasks[0].images

    def diverge(_: Monitor) -> None:
        raise TrainingDiverged

    first = erase(scene, images[0].pixels)
    scene.script.training = diverge
    failed = [scene.run() for _ in range(2)]
    erase(scene, images[1].pixels, retraining=Retraining.NONE)
    scene.script.training = nothing
    for job in failed:
        retry_job(scene.platform, SilentNotifier(), JobRequest(principal=TESTER), job.id)
        assert scene.run().status is JobStatus.SUCCEEDED
    assert scene.script.tasks[-2].images == images[2:]
    assert followed(scene, first).status is ErasureStatus.DONE


@pytest.mark.parametrize("retraining", [Retraining.NONE, Retraining.ALL])
def test_one_whose_parent_an_earlier_erasure_has_left_marked_is_not_ordered(
    scene: Scene, model: Model, retraining: Retraining
) -> None:
    lessons = [task.images for task in scene.script.tasks]
    erase(scene, lessons[0][0].pixels, retraining=retraining)
    later = erase(scene, lessons[1][0].pixels)
    (version,) = later.findings.versions
    waits = retraining is Retraining.ALL
    assert version.obstacle == (None if waits else "parent_not_retrained")
    while followed(scene, later).status is ErasureStatus.RETRAINING:
        scene.run()
    ended = ErasureStatus.DONE if waits else ErasureStatus.INCOMPLETE
    assert followed(scene, later).status is ended
