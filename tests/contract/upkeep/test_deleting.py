"""Deletion of versions, aliases, models and dataset versions, and what holds afterwards."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

import pytest

from core.access.keys import create_key, model_names
from core.access.rows import Keys
from core.audit.record import verify_audit
from core.audit.rows import AuditTrail
from core.audit.rules import AuditFilter
from core.bases.create_model import create_model
from core.datasets import edit as stored_images
from core.datasets.edit import remove_images
from core.datasets.freeze import freeze_version
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.version_rows import Suites
from core.errors import (
    ArtifactMissing,
    DatasetNotFound,
    DatasetVersionNotFound,
    ImageFrozen,
    InUse,
    JobDeleted,
    JobNotFound,
    ModelNotFound,
    NoPrevious,
    VersionNotFound,
)
from core.evaluation.evidence import EVIDENCE
from core.evaluation.rows import AnswerCache
from core.gate.rules import Verdict
from core.jobs.orders import UpdateOrder
from core.jobs.queue import JobRequest
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.principal import Principal, Role
from core.recipes.rules import Recipe
from core.registry.alias_rows import Aliases
from core.registry.configure import configure_model
from core.registry.rows import Models
from core.registry.verdict_rows import Verdicts
from core.registry.version_rows import Versions
from core.registry.versions import Descent, Model
from core.training.order import order_update
from core.upkeep.delete import (
    delete_dataset,
    delete_dataset_version,
    delete_model,
    delete_version,
    retire_suite,
)
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.judged import go_back, go_live
from tests.support.factories import (
    TESTER,
    a_dataset,
    a_job,
    a_job_of_no_model,
    a_row,
    digest,
    pixels_on,
)
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene
from tests.support.storage.collecting import tidy
from tests.support.webhooks import deliveries_of, subscribed


@pytest.fixture
def model(scene: Scene) -> Model:
    return scene.model()


def test_a_deleted_version_is_gone_and_so_are_its_weights_alone(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    kept, made = (a_candidate(scene.platform, model, teaches=(name,)) for name in ("cat", "dog"))
    delete_version(scene.platform, model=model.name, version=made.number, reason="a test")
    with pytest.raises(VersionNotFound, match="Version 3 was deleted"):
        scene.version(model, 3)
    assert [version.number for version in scene.versions(model)] == [1, 2]
    with scene.platform.transactions(read_only=True) as work:
        assert [version.number for version in work[Versions].page(model.id, 9, None)] == [1, 2]
        with pytest.raises(VersionNotFound):
            work[Versions].by_digest(model.id, made.digest)
    tidy(scene)
    assert artifacts.has(kept.digest)
    assert artifacts.has(kept.feature_statistics["cat"])
    assert not artifacts.has(made.feature_statistics["dog"])
    with pytest.raises(ArtifactMissing):
        artifacts.get(made.digest)
    assert a_candidate(scene.platform, model).number == 4


def test_a_deleted_verdict_stays_spent(scene: Scene, model: Model) -> None:
    """Otherwise failed versions could be deleted until one passes by chance."""
    made = a_candidate(scene.platform, model, verdict=Verdict.FAILED)
    delete_version(scene.platform, model=model.name, version=made.number, reason="a test")
    with scene.platform.transactions(read_only=True) as work:
        assert made.number in work[Verdicts].suites(model.id)
        assert work[Versions].descents(model.id)[made.number] == Descent(parent=1)


def test_a_version_that_is_live_or_a_parent_stays(scene: Scene, model: Model) -> None:
    a_candidate(scene.platform, model, verdict=Verdict.PASSED)
    a_candidate(scene.platform, model, parent=2)
    go_live(scene, model, 2)
    with pytest.raises(InUse) as told:
        delete_version(scene.platform, model=model.name, version=2, reason="a test")
    assert told.value.facts == {"aliases": ["production"], "descendants": [3]}
    go_back(scene, model)
    delete_version(scene.platform, model=model.name, version=3, reason="a test")
    delete_version(scene.platform, model=model.name, version=2, reason="a test")
    assert [version.number for version in scene.versions(model)] == [1]


def test_a_rollback_does_not_go_to_a_deleted_version(scene: Scene, model: Model) -> None:
    for number in (2, 3):
        a_candidate(scene.platform, model, verdict=Verdict.PASSED)
        go_live(scene, model, number, override=number == 3, reason="for this test")
    delete_version(scene.platform, model=model.name, version=2, reason="a test")
    with pytest.raises(VersionNotFound):
        go_back(scene, model, to=2)
    assert go_back(scene, model) == 1
    with pytest.raises(NoPrevious):
        go_back(scene, model)


def test_a_deleted_model_leaves_nothing_and_its_name_is_free(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    other = scene.model("other")
    scene.update(model, scene.frozen("cat", "dog"))
    job = scene.run()
    assert job.status is JobStatus.SUCCEEDED
    digests = [version.digest for version in scene.versions(model)]
    with scene.platform.transactions(read_only=True) as work:
        evidence = work[AnswerCache].find(job.result["report"], EVIDENCE)
    assert evidence is not None
    delete_model(scene.platform, model=model.name, reason="a test")
    with scene.platform.transactions(read_only=True) as work:
        with pytest.raises(ModelNotFound):
            work[Models].get(model.name)
        with pytest.raises(JobNotFound):
            work[Jobs].get(job.id)
        assert work[Aliases].history(model.id, "production") == []
        assert [found.name for found in work[Models].page(9, None)] == ["other"]
        assert work[Aliases].get(other.id, "production").version == 1
    tidy(scene)
    assert not artifacts.has(evidence)
    shared = scene.versions(other)[0].digest
    assert [artifacts.has(one) for one in digests] == [one == shared for one in digests]
    assert scene.model(model.name).id != model.id


def test_keys_webhooks_and_audit_events_outlive_the_model_that_they_name(
    scene: Scene, model: Model
) -> None:
    platform, other = scene.platform, scene.model("other")
    webhook = subscribed(platform.transactions, models=(model.id,))
    key, _ = create_key(platform, name="ci", role=Role.VIEWER, models=["demo"])
    a_candidate(platform, model, verdict=Verdict.PASSED)
    go_live(scene, model, 2)
    delete_model(platform, model=model.name, reason="a test")
    (moved,) = deliveries_of(platform.transactions, webhook)
    assert moved.payload["data"]["model"] == model.id
    theirs = platform.transactions.on_behalf_of(
        Principal(name="ci", role=key.role, models=frozenset(key.models or ()))
    )
    with theirs(read_only=True) as work:
        assert work[Models].page(9, None) == work[Jobs].page(9, None) == []
        with pytest.raises(ModelNotFound):
            work[Models].get(other.id)
        assert model_names(work, work[Keys].get("ci")) == [model.id]
        about = work[AuditTrail].page(9, None, AuditFilter(subject="models/demo"))
    assert [event.change.action for event in about] == [
        "model.deleted",
        "alias.moved",
        "alias.created",
    ]
    assert verify_audit(platform).broken_at is None


def test_metadata_leaves_with_the_jobs_of_a_model(scene: Scene, model: Model) -> None:
    """SQLite gives the position of a deleted job to the next one."""
    metadata = {"team": "shoes"}
    with scene.platform.transactions() as work:
        work[Jobs].add(a_job(model, status=JobStatus.SUCCEEDED, metadata=metadata))
        work.commit()
    delete_model(scene.platform, model=model.name, reason="a test")
    added = a_job_of_no_model("dataset:ds_1", metadata={"team": "bags"})
    with scene.platform.transactions() as work:
        work[Jobs].add(added)
        assert work[Jobs].named_page(9, None, metadata=("team", "shoes")) == []
        assert [one.job.id for one in work[Jobs].named_page(9, None, metadata=("team", None))] == [
            added.id
        ]


def test_a_job_cannot_be_ordered_for_a_model_that_is_being_deleted(
    scene: Scene, model: Model
) -> None:
    """Its order was checked before; the row of the job would have no model."""
    delete_model(scene.platform, model=model.name, reason="a test")
    with scene.platform.transactions() as work, pytest.raises(ModelNotFound):
        work[Jobs].add(a_job(model))


def test_of_a_promotion_and_a_deletion_at_once_one_is_refused(scene: Scene, model: Model) -> None:
    def promoted(number: int) -> bool:
        with suppress(VersionNotFound):
            go_live(scene, model, number, override=True, reason="for this test")
            return True
        return False

    def deleted(number: int) -> bool:
        with suppress(InUse):
            delete_version(scene.platform, model=model.name, version=number, reason="a test")
            return True
        return False

    with ThreadPoolExecutor(2) as pool:
        for _ in range(8):
            number = a_candidate(scene.platform, model, verdict=Verdict.PASSED).number
            both = (pool.submit(promoted, number), pool.submit(deleted, number))
            assert sorted(one.result() for one in both) == [False, True]


def test_an_idempotency_key_does_not_make_a_deleted_model_again(scene: Scene) -> None:
    once = JobRequest(principal=TESTER, key="once", body=digest("the body"))

    def make() -> None:
        create_model(scene.platform, SilentNotifier(), once, name="demo", base="bundled")

    make()
    scene.run()
    delete_model(scene.platform, model="demo", reason="a test")
    with pytest.raises(JobDeleted):
        make()


def test_a_version_that_a_model_has_learned_from_stays(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    scene.update(model, data, auto_promote=False)
    scene.run()
    for delete in (
        lambda: delete_dataset(scene.platform, dataset=data.dataset),
        lambda: delete_dataset_version(scene.platform, dataset=data.dataset, version=1),
    ):
        with pytest.raises(InUse) as told:
            delete()
        assert told.value.facts == {"versions": ["demo:2"]}
    delete_version(scene.platform, model=model.name, version=2, reason="a test")
    delete_dataset(scene.platform, dataset=data.dataset)
    with (
        scene.platform.transactions(read_only=True) as work,
        pytest.raises(DatasetNotFound),
    ):
        work[Datasets].get(data.dataset)


def test_images_that_a_later_version_trains_on_are_still_known_as_trained(scene: Scene) -> None:
    """They are noted once, of the first version that has them."""
    dataset, (kept, gone) = a_dataset(), pixels_on(Side.TRAIN, 2)
    scene.draft(dataset, *(a_row(dataset, pixels, "cat") for pixels in (kept, gone)))
    freeze_version(scene.platform, dataset.id)
    with scene.platform.transactions() as work:
        work[Datasets].remove_image(dataset.id, gone)
        work.commit()
    for _ in range(2):
        freeze_version(scene.platform, dataset.id)
    for number, trained in ((1, {kept}), (2, {kept}), (3, set())):
        delete_dataset_version(scene.platform, dataset=dataset.id, version=number)
        with scene.platform.transactions(read_only=True) as work:
            found = work[Datasets].trained_groups({kept, gone}, except_for=a_dataset().id)
        assert found == trained
    with pytest.raises(DatasetVersionNotFound):
        delete_dataset_version(scene.platform, dataset=dataset.id, version=3)


def test_an_order_and_a_deletion_at_once_leave_no_job_without_its_images(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    checked, deleting = Event(), Event()
    request = JobRequest(principal=TESTER)
    order = UpdateOrder(dataset=data.dataset, dataset_version=1, recipe=Recipe())
    read = scene.platform.artifacts.get

    def slow(digest, *rest):  # type: ignore[no-untyped-def]
        if digest == data.manifest and not checked.is_set():
            checked.set()
            deleting.wait(0.3)
        return read(digest, *rest)

    scene.platform.artifacts.get = slow  # type: ignore[method-assign]

    def delete() -> bool:
        checked.wait(5)
        try:
            delete_dataset(scene.platform, dataset=data.dataset)
        except InUse:
            return False
        finally:
            deleting.set()
        return True

    with ThreadPoolExecutor(1) as pool:
        deleted = pool.submit(delete)
        order_update(scene.platform, SilentNotifier(), request, model=model.name, order=order)
        assert not deleted.result()


def test_an_image_that_is_frozen_while_it_is_removed_stays(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, (pixels, _) = a_dataset(), pixels_on(Side.TRAIN, 2)
    scene.draft(dataset, a_row(dataset, pixels, "cat"))
    check = stored_images._require_draft_only

    def then_freeze(*given):  # type: ignore[no-untyped-def]
        check(*given)
        freeze_version(scene.platform, dataset.id)

    monkeypatch.setattr(stored_images, "_require_draft_only", then_freeze)
    with pytest.raises(ImageFrozen):
        remove_images(scene.platform, dataset.id, [pixels])


def test_a_suite_that_is_chosen_meanwhile_is_not_retired(scene: Scene) -> None:
    model = scene.model()
    suite = scene.suite(model, scene.frozen("cat", "dog"))
    configure_model(scene.platform, model.name, suites=[], policy=None, reason="a test")
    with ThreadPoolExecutor(1) as pool, scene.platform.transactions() as work:
        work[Models].set_suites(model.id, work[Suites].chosen([suite.name]))
        retiring = pool.submit(retire_suite, scene.platform, suite=suite.name)
        with suppress(TimeoutError):
            retiring.result(0.2)
        work.commit()
    with pytest.raises(InUse):
        retiring.result()
