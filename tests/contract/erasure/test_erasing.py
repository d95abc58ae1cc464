"""Images are gone after an erasure, versions that learned from them are marked, archives go too."""

from dataclasses import replace
from unittest.mock import Mock

import pytest

from core.archives.rules import ArchiveFormat
from core.audit.rows import AuditTrail
from core.audit.rules import AuditFilter
from core.datasets.edit import stored_form
from core.datasets.freeze import read_manifest
from core.datasets.manifests import Part, Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind, DatasetRef
from core.datasets.thumbnail_rows import Thumbnails
from core.datasets.version_rows import Suites
from core.erasure.rules import ErasureStatus, Exposure, Retraining
from core.errors import (
    DatabaseUnavailable,
    DatasetVersionReplaced,
    Forbidden,
    ImageErased,
    ImageNotFound,
    LearnedErasedImages,
    NoPrevious,
)
from core.evaluation.rows import AnswerCache
from core.imports.import_images import file_report
from core.jobs.orders import ImportImagesOrder, JobType
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Monitor
from core.principal import Principal, Role
from core.recipes.fields import Method
from core.recipes.rules import Recipe
from core.registry.promote import promote
from core.registry.rows import Models
from core.registry.versions import Model
from core.trials.rows import Trials
from core.trials.rules import TrialEnd, TrialMode
from core.trials.run import start_trial
from core.upkeep.gc import expand, roots_of
from core.upkeep.rows import ArtifactRoots
from core.values import DatasetId, Digest, canonical_json
from tests.support.erasures import entry_of, erase, followed, order
from tests.support.evaluation.judged import a_judged_model, go_back, go_live
from tests.support.factories import NOW, a_dataset, a_job_of_no_model, a_row, digest
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene

MANY = 1000  # forms: no two images have the same bytes


@pytest.fixture
def model(scene: Scene) -> Model:
    return scene.model()


def taught(scene: Scene, model: Model, *classes: str, offset: int = 0, parent: int = 1) -> None:
    scene.learn(model, scene.frozen(*classes, offset=offset, forms=MANY), parent=parent)


def code(ended: Job) -> object:
    assert ended.status is JobStatus.FAILED
    return (ended.error or {})["code"]


def test_an_erased_image_is_gone_and_is_not_let_in_again(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    data = scene.frozen("cat", "dog", forms=MANY)
    gone = entry_of(scene, data, Side.TRAIN)
    assert stored_form(scene.platform, gone.pixels) == gone.artifact
    erasure = erase(scene, gone.pixels)
    assert not artifacts.has(gone.artifact)
    with scene.platform.transactions() as work:
        old, new = work[Datasets].versions(data.dataset)
        assert (old.replaced_by, new.number, new.replaced_by) == (2, 2, None)
        assert old.manifest == data.manifest
        assert new.images == old.images - 1
        assert not work[Datasets].texts(data.dataset, [gone.pixels])
        image = work[Datasets].stored(gone.pixels)
        assert image is not None
        assert (image.width, image.size) == (0, 0)
        row = replace(a_row(a_dataset(id=data.dataset), gone.pixels, "cat"))
        with pytest.raises(ImageErased):
            work[Datasets].add_images(data.dataset, [row])
        events = work[AuditTrail].page(9, None, AuditFilter(subject=f"erasures/{erasure.id}"))
    assert [event.change.action for event in events] == ["images.erased", "erasure.ordered"]
    left = read_manifest(artifacts, new.manifest)
    assert left == read_manifest(artifacts, data.manifest).without([gone.pixels])
    with scene.platform.transactions(read_only=True) as work:
        dataset = work[Datasets].get(data.dataset).name
        roots, erased = roots_of(work[ArtifactRoots]), work[ArtifactRoots].erased()
    assert gone.artifact not in expand(artifacts, roots, erased=erased).kinds
    assert left.entries[0].artifact in expand(artifacts, roots, erased=erased).kinds
    with pytest.raises(ImageNotFound, match="erased"):
        stored_form(scene.platform, gone.pixels, dataset=dataset)
    with pytest.raises(ImageNotFound, match="erased"):
        stored_form(scene.platform, gone.pixels)
    with pytest.raises(ImageNotFound) as unknown:
        stored_form(scene.platform, digest("of no image"))
    assert unknown.value.facts == {"pixels": digest("of no image")}
    with pytest.raises(ImageNotFound) as again:
        order(scene, gone.pixels)
    assert again.value.facts["erasures"] == [erasure.id]
    assert erasure.findings.datasets[0].removed == 1


def test_versions_are_marked_however_they_learned_from_it_and_so_are_their_descendants(
    scene: Scene, model: Model
) -> None:
    taught(scene, model, "cat", "dog")
    taught(scene, model, "owl", "elk", offset=50, parent=2)
    taught(scene, model, "ant", "bee", offset=100)
    shown = scene.frozen("a cat", "a dog", kind=DatasetKind.CAPTIONED, forms=MANY)
    scene.learn(
        model,
        scene.frozen("fox", "cow", offset=150, forms=MANY),
        recipe=Recipe(method=Method.ZSCL),
        reference=DatasetRef(dataset=shown.dataset, version=1),
        parent=1,
    )
    pixels = entry_of(scene, shown, Side.TRAIN).pixels
    erasure = erase(scene, pixels, retraining=Retraining.NONE)
    assert {one.number: one.learned for one in erasure.findings.versions} == {
        2: Exposure.TAUGHT,
        3: Exposure.INHERITED,
        5: Exposure.DISTILLED,
    }
    marks = [version.erasure for version in scene.versions(model)]
    assert marks == [None, erasure.id, erasure.id, None, erasure.id]
    assert len(followed(scene, erasure).erasure.findings.datasets) == 2


def test_an_image_that_a_mixing_weight_was_chosen_by_marks_and_one_held_out_does_not(
    scene: Scene, model: Model
) -> None:
    suite = scene.frozen("sun", "moon", each=10, offset=50, forms=MANY)
    scene.suite(model, suite, "sky")
    data = scene.frozen("cat", "dog", each=10, forms=MANY)
    scene.learn(model, data, recipe=Recipe(method=Method.WISE))
    scene.learn(model, data, parent=1)
    both = [*read_manifest(scene.platform.artifacts, data.manifest).on(Side.HOLDOUT)]
    both += read_manifest(scene.platform.artifacts, suite.manifest).entries
    tested, shown = (
        [one.pixels for one in both if one.part is part][-1]
        for part in (Part.TEST, Part.VALIDATION)
    )
    assert erase(scene, tested).findings.versions == ()
    found = erase(scene, shown, retraining=Retraining.NONE).findings.versions
    assert {one.number: one.learned for one in found} == {2: Exposure.CHOSEN}
    assert not followed(scene, order(scene, both[0].pixels)).versions


def test_versions_are_scored_without_erased_images_of_suites_and_holdouts(
    scene: Scene,
) -> None:
    model = scene.model()
    scene.suite(model, scene.frozen("hat", "bag", each=15, offset=500, forms=MANY), "easy")
    data = scene.frozen("cat", "dog", each=15, offset=100, forms=MANY)
    scene.learn(model, data)
    asked = set(scene.script.asked_questions)
    with scene.platform.transactions(read_only=True) as work:
        (suite,) = [work[Suites].get(one) for one in work[Models].get(model.id).suites]
    held = read_manifest(scene.platform.artifacts, suite.manifest).entries
    pixels = [
        next(one.pixels for one in held if one.part is Part.TEST),
        next(
            one.pixels
            for one in read_manifest(scene.platform.artifacts, data.manifest).on(Side.HOLDOUT)
            if one.part is Part.TEST
        ),
    ]
    found = erase(scene, *pixels).findings
    assert (found.suites, found.versions) == (("easy",), ())
    with scene.platform.transactions(read_only=True) as work:
        remade = work[Datasets].version(data.dataset, 2)
    scene.learn(model, remade, parent=1)
    assert asked.isdisjoint(scene.script.asked_questions[len(asked) :])


def test_a_marked_version_is_tried_no_more_and_goes_live_by_an_admins_override_only(
    scene: Scene,
) -> None:
    model = a_judged_model(scene)
    for parent, offset in ((1, 100), (2, 200)):
        data = scene.frozen("cat", "dog", each=15, offset=offset, forms=MANY)
        scene.learn(model, data, parent=parent, auto_promote=False)
        go_live(scene, model, parent + 1, reason="new")
    trial = start_trial(
        scene.platform,
        model=model.name,
        alias="production",
        candidate=2,
        mode=TrialMode.SHADOW,
        share=None,
        expected_revision=3,
        reason="was it better?",
    )
    pixels = scene.script.tasks[0].images[0].pixels
    erasure = erase(scene, pixels, retraining=Retraining.NONE)
    with scene.platform.transactions(read_only=True) as work:
        assert work[Trials].find(model.id, "production", trial.id).end is TrialEnd.ERASED
        assert not work[Trials].running(model.id)
    assert scene.live(model) == 3
    progress = followed(scene, erasure)
    assert progress.status is ErasureStatus.LIVE
    told = "Nothing replaces it: promote a version that did not learn from them."
    assert [(alias.version, step) for _, alias, step in progress.live] == [(3, told)]
    assert go_back(scene, model) == 1
    assert followed(scene, erasure).status is ErasureStatus.DONE
    with pytest.raises(NoPrevious):
        go_back(scene, model)
    with pytest.raises(LearnedErasedImages):
        go_live(scene, model, 3, reason="for now")
    with pytest.raises(LearnedErasedImages):
        go_back(scene, model, to=2)
    given = {"alias": "production", "expected_revision": None, "reason": "x", "override": True}
    operator = Principal(name="operator", role=Role.OPERATOR)
    with pytest.raises(Forbidden):
        promote(scene.platform, operator, model=model.name, version=3, **given)
    assert go_live(scene, model, 3, reason="for now", override=True).version == 3


def test_a_dataset_version_of_erased_images_alone_is_replaced_by_none(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    data = scene.frozen("cat", each=1, forms=MANY)
    entries = read_manifest(artifacts, data.manifest).entries
    found = erase(scene, *(entry.pixels for entry in entries)).findings
    assert [(one.removed, one.replaced_by) for one in found.datasets] == [(2, 0)]
    with scene.platform.transactions(read_only=True) as work:
        (left,) = work[Datasets].versions(data.dataset)
    with pytest.raises(DatasetVersionReplaced, match="none is left"):
        left.require_whole()


def test_near_duplicates_that_stay_are_listed(scene: Scene) -> None:
    dataset, pixels = a_dataset(), sorted(map(digest, "abcd"))
    oldest, *others = [a_row(dataset, one, "cat") for one in pixels]
    with scene.platform.transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_images(dataset.id, [oldest, *others])
        work[Thumbnails].add([(oldest.image, "00")])
        alike = [replace(row.image, near_duplicate_of=pixels[0]) for row in others[:2]]
        work[Thumbnails].add([(image, "00") for image in alike])
        work[Thumbnails].add([(others[2].image, "ff")])
        work.commit()
    assert erase(scene, pixels[0]).findings.near_duplicates == tuple(pixels[1:3])
    assert erase(scene, pixels[1]).findings.near_duplicates == (pixels[2],)
    assert erase(scene, pixels[3]).findings.near_duplicates == ()


def test_nothing_more_is_learned_from_erased_images(scene: Scene, model: Model) -> None:
    data = scene.frozen("cat", "dog", forms=MANY)
    scene.learn(model, data)
    order(scene, entry_of(scene, data, Side.TRAIN).pixels, retraining=Retraining.NONE)
    scene.learn(model, data)
    assert code(scene.run()) == "dataset_version_replaced"


@pytest.mark.parametrize("from_marked", [False, True])
def test_an_update_that_runs_during_an_erasure_makes_no_version_of_erased_images(
    scene: Scene, model: Model, from_marked: bool
) -> None:
    taught(scene, model, "cat", "dog")
    first = scene.frozen("cat", "dog", forms=MANY)
    data = scene.frozen("owl", "elk", offset=50, forms=MANY)

    def erase_meanwhile(monitor: Monitor) -> None:
        scene.script.training = lambda _: None
        image = entry_of(scene, first if from_marked else data, Side.TRAIN)
        erase(scene, image.pixels, retraining=Retraining.NONE)

    scene.script.training = erase_meanwhile
    running = scene.update(model, data, parent=2 if from_marked else 1)
    expected = "learned_erased_images" if from_marked else "image_erased"
    assert code(scene.run()) == expected
    assert scene.job(running).version is None
    assert len(scene.versions(model)) == 2


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
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "delete", Mock(side_effect=DatabaseUnavailable))
        assert scene.run().status is JobStatus.QUEUED
    add_import(scene, data.dataset, archive, JobStatus.QUEUED)
    assert scene.run().type is JobType.ERASE
    assert artifacts.has(archive)


def test_what_was_made_of_an_image_is_erased_and_what_others_need_is_kept(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    """File names in reports of imports, answers by which versions were scored, and statistics."""
    model = scene.model()
    first, second = (scene.frozen(*"ab", each=15, offset=n, forms=MANY) for n in (0, 100))
    scene.learn(model, first)
    scene.learn(model, second, parent=2)
    held = read_manifest(artifacts, second.manifest).on(Side.HOLDOUT)
    tested = next(one.pixels for one in held if one.part is Part.TEST)
    taught_second = entry_of(scene, second, Side.TRAIN).pixels
    kept, lost = (scene.version(model, number).feature_statistics for number in (2, 3))
    asked = {question for _, question in scene.script.asked_questions}
    with scene.platform.transactions(read_only=True) as work:
        before = work[AnswerCache].stored([scene.version(model, 3).digest], asked)
    rows = [
        {"file": f"{name}/passport.png", "text": name, "pixels": pixels, "error": None}
        for name, pixels in (("jane", taught_second), ("rex", digest("another")))
    ]
    report = artifacts.put(b"".join(canonical_json(row) + b"\n" for row in rows))
    archive = artifacts.put(b"archive")
    order_ = ImportImagesOrder(
        dataset=first.dataset, archive=archive, archive_format=ArchiveFormat.ZIP, archive_bytes=9
    )
    imported = a_job_of_no_model("x", type=JobType.IMPORT_IMAGES, order=order_)
    imported = imported.succeed({"report": report}, NOW)
    with scene.platform.transactions() as work:
        work[Jobs].add(imported)
        work.commit()
    erase(scene, taught_second, tested, retraining=Retraining.NONE)
    left = artifacts.get(file_report(scene.platform, imported.id)).decode()
    assert ("jane" in left, "rex/passport.png" in left, taught_second in left) == (
        False,
        True,
        True,
    )
    assert not artifacts.has(report)
    assert scene.version(model, 3).feature_statistics == {}
    assert scene.version(model, 2).feature_statistics == kept != {}
    shared = set(kept.values())
    assert {digest: artifacts.has(digest) for digest in {*lost.values(), *shared}} == {
        digest: digest in shared for digest in {*lost.values(), *shared}
    }
    with scene.platform.transactions(read_only=True) as work:
        after = work[AnswerCache].stored([scene.version(model, 3).digest], asked)
    assert set(after) < set(before)
    gone = {before[key] for key in before.keys() - after.keys()} - set(after.values())
    assert gone
    assert not any(artifacts.has(one) for one in gone)
