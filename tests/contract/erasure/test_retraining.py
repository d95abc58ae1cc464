"""Updates that an erasure orders, in what order they run, and the line that they make."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from core.datasets.freeze import read_manifest
from core.datasets.manifests import Manifest, Part, Side
from core.erasure import erase_images
from core.erasure.order import certify
from core.erasure.rules import Erasure, ErasureStatus, Retraining
from core.errors import (
    DatabaseUnavailable,
    ErasureCommitted,
    ErasurePending,
    HoldoutBiased,
    InUse,
    TrainingDiverged,
)
from core.evaluation import read_plan
from core.evaluation.read_plan import held_out_updates
from core.gate.rules import Verdict
from core.job_types.retry import retry_job
from core.jobs.needs import Retention
from core.jobs.orders import UpdateOrder
from core.jobs.queue import JobRequest, cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.recipes.fields import LabelSpace
from core.recipes.rules import Recipe
from core.registry.configure import configure_model
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version
from core.upkeep.delete import delete_dataset_version, delete_version
from core.upkeep.gc import collect_garbage
from tests.support.api.seeds import a_verdict
from tests.support.erasures import erase, followed, order
from tests.support.evaluation.judged import go_live
from tests.support.factories import NOW, TESTER
from tests.support.learning.erasure_trial import erase_and_compare
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene, nothing

MANY = 1000

RECIPES = (Recipe(seed=7, label_space=LabelSpace.OPEN), Recipe(seed=8))


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model that has learned two lessons, by the suite that it had at the time."""
    made = scene.model()
    scene.suite(made, scene.frozen("sun", "moon", offset=200), "sky")
    for parent, recipe in enumerate(RECIPES, start=1):
        data = scene.frozen(*"ab", offset=50 * parent, forms=MANY)
        scene.learn(made, data, parent=parent, recipe=recipe, prompt="the {name}")
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
    configure_model(scene.platform, model.name, suites=[], policy=None, reason="a test")
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
    scene.script.training = Mock(side_effect=TrainingDiverged)
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
        delete_version(scene.platform, model=model.name, version=4, reason="a test")
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
    scene.learn(model, data)
    scene.learn(model, scene.frozen("owl", "elk", offset=50, forms=MANY), parent=2)
    erasure = erase(scene, scene.script.tasks[0].images[0].pixels)
    obstacles = [one.obstacle for one in erasure.findings.versions]
    assert obstacles == ["too_few_per_class", "parent_not_retrained"]
    assert states(scene, erasure)[0] is ErasureStatus.INCOMPLETE


def test_collected_weights_of_the_parent_are_an_obstacle_for_the_line(
    scene: Scene, model: Model
) -> None:
    for parent in (3, 4):
        scene.learn(model, scene.frozen(*"ab", offset=100 * parent, forms=MANY), parent=parent)
    retention = Retention(keep_last=1, made_before=NOW + timedelta(days=1))
    collect_garbage(scene.platform, TESTER, retention=retention)
    assert scene.version(model, 3).collected_at is not None
    erasure = erase(scene, scene.script.tasks[2].images[0].pixels)
    obstacles = {one.number: one.obstacle for one in erasure.findings.versions}
    assert obstacles == {4: "artifact_gone", 5: "parent_not_retrained"}
    assert states(scene, erasure)[0] is ErasureStatus.INCOMPLETE


def test_an_erasure_that_dies_between_rows_and_bytes_is_not_cancelled_but_resumed(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = scene.script.tasks[0].images[0]
    waiting = order(scene, gone.pixels)

    def die(_: object) -> None:
        with pytest.raises(ErasureCommitted):
            cancel_job(scene.platform, waiting.job)
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "delete", die)
        assert scene.run().status is JobStatus.QUEUED
    assert artifacts.has(gone.artifact)
    assert states(scene, waiting)[0] is ErasureStatus.ERASING
    with pytest.raises(ErasureCommitted):
        cancel_job(scene.platform, waiting.job)
    assert scene.run().status is JobStatus.SUCCEEDED
    assert not artifacts.has(gone.artifact)
    assert [scene.run().status for _ in range(2)] == [JobStatus.SUCCEEDED] * 2
    assert states(scene, waiting) == (ErasureStatus.DONE, [4, 5])
    assert len(scene.versions(model)) == 5


def test_an_erasure_that_is_cancelled_just_before_its_rows_are_committed_changes_nothing(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = order(scene, scene.script.tasks[0].images[0].pixels)
    carry = erase_images.carry_answers

    def cancel_after(*args: Any) -> Any:
        found = carry(*args)
        cancel_job(scene.platform, waiting.job)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(erase_images, "carry_answers", cancel_after)
        assert scene.run().status is JobStatus.CANCELLED
    assert states(scene, waiting)[0] is ErasureStatus.FAILED
    assert {version.erasure for version in scene.versions(model)} == {None}
    retry_job(scene.platform, SilentNotifier(), JobRequest(principal=TESTER), waiting.job)
    assert scene.run().status is JobStatus.SUCCEEDED


def test_a_line_whose_weights_were_collected_is_scored_on_what_is_left_of_its_holdouts(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    model = scene.model()
    lessons = [scene.frozen(*"ab", each=15, offset=50 * n, forms=MANY) for n in range(3)]
    for parent, data in enumerate(lessons[:2], start=1):
        scene.learn(model, data, parent=parent)
    retention = Retention(keep_last=1, made_before=NOW + timedelta(days=1))
    for _ in range(2):
        scene.learn(model, lessons[2], parent=3)
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


def test_a_settled_version_without_weights_is_compared_with_on_what_is_left_of_a_holdout(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    model = scene.model()
    lessons = [scene.frozen(*"ab", each=15, offset=50 * n, forms=MANY) for n in range(4)]
    for parent, data in enumerate(lessons[:3], start=1):
        scene.learn(model, data, parent=parent)
    for number in (3, 4):
        go_live(scene, model, number, override=True, reason="seeded")
    with scene.platform.transactions() as work:
        for number in (2, 3):
            work[Versions].release_weights(model.id, number, NOW)
        work.commit()
    held = read_manifest(artifacts, lessons[0].manifest).on(Side.HOLDOUT)
    erase(scene, next(entry.pixels for entry in held if entry.part is Part.TEST))
    scene.update(model, lessons[3], parent=4)
    ended = scene.run()
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    measures = scene.report(scene.version(model, 5))["measures"]
    settled = [m for m in measures if m["baseline"] == "settled version"]
    assert [m["name"] for m in settled] == ["version 2", "version 3", "3 updates"]
    assert [m["soft"]["views"] for m in settled] == [2, 2, 2]


def test_what_is_trained_again_is_settled_as_what_it_replaces_was_unless_it_has_failed(
    scene: Scene, model: Model, erasure: Erasure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an erasure would let a line lose once more what it may lose since a settled version."""
    for _ in RECIPES:
        assert scene.run().status is JobStatus.SUCCEEDED
    monkeypatch.setattr(read_plan, "let_live", lambda *_: {2})
    with scene.platform.transactions() as work:
        line = [work[Versions].get(model.id, number) for number in (2, 3, 4, 5)]
        found = held_out_updates(work, scene.platform.artifacts, model, line)
        assert [one.passed for one in found] == [True, False, True, False]
        a_verdict(scene.platform, work, line[2], Verdict.FAILED, beside=5)
        assert held_out_updates(work, scene.platform.artifacts, model, line) == found
        a_verdict(scene.platform, work, line[2], Verdict.FAILED)
        found = held_out_updates(work, scene.platform.artifacts, model, line)
    assert [one.passed for one in found] == [True, False, False, False]


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
        delete_version(scene.platform, model=model.name, version=version, reason="a test")
    for version in (1, 2):
        delete_dataset_version(scene.platform, dataset=dataset, version=version)


def test_a_failed_update_is_retried_without_what_was_erased_since(
    scene: Scene, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = scene.script.tasks[0].images
    # As where most of the held-out images are erased: others cannot be added to what is repeated.
    monkeypatch.setattr(Manifest, "require_fair_holdout", Mock(side_effect=HoldoutBiased))
    first = erase(scene, images[0].pixels)
    scene.script.training = Mock(side_effect=TrainingDiverged)
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


def test_a_line_without_an_erased_image_is_the_line_that_never_had_it(tmp_path: Path) -> None:
    trial = erase_and_compare(tmp_path, lesson=0, image=2)
    assert [job.status for job in trial.jobs] == [JobStatus.SUCCEEDED] * 4, trial.jobs[-1].error
    assert [version.replaces for version in trial.versions] == [None] * 4 + [2, 3, 4]
    assert [version.digest for version in trial.replacing] == trial.control
    assert {version.digest for version in trial.marked}.isdisjoint(trial.control)
    assert list(map(_kept, trial.replacing)) == list(map(_kept, trial.marked))
    assert trial.equal

    assert trial.certificate["status"] is ErasureStatus.DONE
    assert all(one["exact"] for one in trial.certificate["versions"])
    assert [one["in_store"] for one in trial.certificate["images"]] == [False]
    where = {path.relative_to(tmp_path).parts[0] for path in trial.files_before}
    assert where == {"home", "back-up"}
    assert trial.files == []


def _kept(version: Version) -> object:
    """The facts that a repetition shares with the update that it repeats."""
    return version.recipe, version.classes, version.prompt, version.environment
