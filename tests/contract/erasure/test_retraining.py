"""The updates that an erasure orders, in what order they run, and what becomes of the rest."""

from datetime import timedelta

import pytest

from core.datasets.freeze import read_manifest
from core.datasets.manifests import Part, Side
from core.erasure.order import certify
from core.erasure.rules import Erasure, ErasureStatus
from core.errors import DatabaseUnavailable, ErasurePending, InUse, TrainingDiverged
from core.job_types.retry import retry_job
from core.jobs.needs import Retention
from core.jobs.orders import UpdateOrder
from core.jobs.queue import JobRequest
from core.jobs.rules import JobStatus, Monitor
from core.recipes.fields import LabelSpace
from core.recipes.rules import Recipe
from core.registry.configure import configure_model
from core.registry.versions import Model
from core.upkeep.delete import delete_version
from core.upkeep.gc import collect_garbage
from tests.support.erasures import erase, followed, order
from tests.support.factories import NOW, TESTER
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene

MANY = 1000

RECIPES = (Recipe(seed=7, label_space=LabelSpace.OPEN), Recipe(seed=8))


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model that has learned two lessons, by the suite that it had at the time."""
    made = scene.model()
    scene.suite(made, scene.frozen("sun", "moon", offset=200), "sky")
    for parent, recipe in enumerate(RECIPES, start=1):
        data = scene.frozen(*"ab", offset=50 * parent, forms=MANY)
        scene.update(made, data, parent=parent, recipe=recipe, prompt="the {name}")
        assert scene.run().status is JobStatus.SUCCEEDED
    return made


@pytest.fixture
def erasure(scene: Scene, model: Model) -> Erasure:
    """An erasure of an image of the first lesson; its updates wait."""
    return erase(scene, scene.script.tasks[0].images[0].pixels)


def states(scene: Scene, erasure: Erasure) -> tuple[ErasureStatus, list[int | None]]:
    progress = followed(scene, erasure)
    return progress.status, [one.by and one.by.number for one in progress.versions]


def test_each_is_trained_again_from_what_replaces_its_parent_as_it_was_ordered(
    scene: Scene, model: Model
) -> None:
    old = list(scene.script.tasks)
    configure_model(scene.platform, model.name, suites=[], policy=None)
    gone = old[0].images[0].pixels
    erasure = erase(scene, gone)
    assert states(scene, erasure) == (ErasureStatus.RETRAINING, [None, None])
    with pytest.raises(ErasurePending):
        certify(scene.platform, erasure.id)
    first, second = scene.run(), scene.run()
    assert [first.metadata, second.metadata] == [{"erasure": erasure.id}] * 2
    assert (first.parent_version, second.parent_version) == (1, 4)
    new = scene.script.tasks[2:]
    assert [spec.recipe for spec in new] == [spec.recipe for spec in old]
    assert [spec.prompt for spec in new] == [spec.prompt for spec in old]
    assert new[0].open_classes == old[0].open_classes == ("moon", "sun")
    kept = tuple(entry for entry in old[0].images if entry.pixels != gone)
    assert (new[0].images, new[1].images) == (kept, old[1].images)
    assert states(scene, erasure) == (ErasureStatus.DONE, [4, 5])
    assert [version.replaces for version in scene.versions(model)] == [None, None, None, 2, 3]
    assert scene.live(model) == 1
    proof = certify(scene.platform, erasure.id)
    digests = [version.digest for version in scene.versions(model)]
    assert [one["digest"] for one in proof["versions"]] == digests[1:3]
    assert [one["digest_after"] for one in proof["versions"]] == digests[3:]


def test_one_that_fails_stops_those_after_it_until_it_is_retried(
    scene: Scene, model: Model, erasure: Erasure
) -> None:
    def diverge(monitor: Monitor) -> None:
        raise TrainingDiverged

    scene.script.training = diverge
    failed = [scene.run() for _ in range(2)]
    codes = [(job.error or {})["code"] for job in failed]
    assert codes == ["training_diverged", "parent_not_retrained"]
    assert states(scene, erasure) == (ErasureStatus.INCOMPLETE, [None, None])
    assert certify(scene.platform, erasure.id)["status"] is ErasureStatus.INCOMPLETE
    scene.script.training = lambda _: None
    for job in failed:
        again = retry_job(scene.platform, SilentNotifier(), JobRequest(principal=TESTER), job.id)
        assert scene.run().status is JobStatus.SUCCEEDED
        assert again.suites == job.suites
    assert states(scene, erasure) == (ErasureStatus.DONE, [4, 5])


def test_what_the_next_one_starts_from_is_neither_collected_nor_deleted(
    scene: Scene, model: Model, erasure: Erasure, artifacts: MemoryArtifacts
) -> None:
    scene.run()
    artifacts.put_at = dict.fromkeys(artifacts.put_at, 0.0)
    retention = Retention(keep_last=0, made_before=NOW + timedelta(days=1))
    collect_garbage(scene.platform, TESTER, retention=retention)
    assert scene.version(model, 4).collected_at is None
    with pytest.raises(InUse):
        delete_version(scene.platform, model=model.name, version=4)
    assert scene.run().status is JobStatus.SUCCEEDED


def test_a_later_erasure_trains_the_replacements_again(
    scene: Scene, model: Model, erasure: Erasure
) -> None:
    scene.run(), scene.run()
    later = erase(scene, scene.script.tasks[0].images[1].pixels)
    assert [one.number for one in later.findings.versions] == [2, 3, 4, 5]
    assert [one.retrained for one in later.findings.versions] == [False, False, True, True]
    jobs = [scene.run(), scene.run()]
    assert [job.parent_version for job in jobs] == [1, 6]
    assert isinstance(jobs[0].order, UpdateOrder)
    assert jobs[0].order.dataset_version == 3
    assert states(scene, later) == (ErasureStatus.DONE, [6, 7, 6, 7])
    assert states(scene, erasure) == (ErasureStatus.DONE, [4, 5])


def test_too_few_images_of_a_class_are_an_obstacle_for_the_line(scene: Scene) -> None:
    model = scene.model()
    data = scene.frozen("cat", "dog", each=2, forms=MANY)
    scene.update(model, data)
    scene.run()
    scene.update(model, scene.frozen("owl", "elk", offset=50, forms=MANY), parent=2)
    scene.run()
    erasure = erase(scene, scene.script.tasks[0].images[0].pixels)
    obstacles = [one.obstacle for one in erasure.findings.versions]
    assert obstacles == ["too_few_per_class", "parent_not_retrained"]
    assert states(scene, erasure)[0] is ErasureStatus.INCOMPLETE


def test_collected_weights_of_the_parent_are_an_obstacle_for_the_line(
    scene: Scene, model: Model
) -> None:
    for parent in (3, 4):
        scene.update(model, scene.frozen(*"ab", offset=100 * parent, forms=MANY), parent=parent)
        assert scene.run().status is JobStatus.SUCCEEDED
    retention = Retention(keep_last=1, made_before=NOW + timedelta(days=1))
    collect_garbage(scene.platform, TESTER, retention=retention)
    assert scene.version(model, 3).collected_at is not None
    erasure = erase(scene, scene.script.tasks[2].images[0].pixels)
    obstacles = {one.number: one.obstacle for one in erasure.findings.versions}
    assert obstacles == {4: "artifact_gone", 5: "parent_not_retrained"}
    assert states(scene, erasure)[0] is ErasureStatus.INCOMPLETE


def test_an_erasure_that_dies_between_rows_and_bytes_deletes_them_when_it_is_resumed(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = scene.script.tasks[0].images[0]
    waiting = order(scene, gone.pixels)

    def die(digest: object) -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "delete", die)
        assert scene.run().status is JobStatus.QUEUED
    assert artifacts.has(gone.artifact)
    assert states(scene, waiting)[0] is ErasureStatus.ERASING
    assert scene.run().status is JobStatus.SUCCEEDED
    assert not artifacts.has(gone.artifact)
    assert [scene.run().status for _ in range(2)] == [JobStatus.SUCCEEDED] * 2
    assert states(scene, waiting) == (ErasureStatus.DONE, [4, 5])
    assert len(scene.versions(model)) == 5


def test_a_line_whose_weights_were_collected_is_scored_on_what_is_left_of_its_holdouts(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    model = scene.model()
    lessons = [scene.frozen(*"ab", each=15, offset=50 * n, forms=MANY) for n in range(3)]
    for parent, data in enumerate(lessons[:2], start=1):
        scene.update(model, data, parent=parent)
        assert scene.run().status is JobStatus.SUCCEEDED
    retention = Retention(keep_last=1, made_before=NOW + timedelta(days=1))
    for _ in range(2):
        scene.update(model, lessons[2], parent=3)
        assert scene.run().status is JobStatus.SUCCEEDED
    collect_garbage(scene.platform, TESTER, retention=retention)
    assert scene.version(model, 2).collected_at is not None
    held = read_manifest(artifacts, lessons[0].manifest).on(Side.HOLDOUT)
    tested = [entry for entry in held if entry.part is Part.TEST]
    for entry in tested[:2]:
        assert erase(scene, entry.pixels).findings.versions == ()
    scene.update(model, lessons[2], parent=3)
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    rows = scene.report(scene.version(model, 6))["lists"]
    counts = {row["images"] for row in rows if row["name"] == "version 2"}
    assert counts == {len(tested) - 2}, rows
