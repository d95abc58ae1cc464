"""Jobs that are cancelled while they wait, run or end, and ended ones that are ordered again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.archives.rules import ArchiveFormat
from core.bases.create_model import create_model
from core.datasets.manifests import Side
from core.errors import (
    AliasNotFound,
    ArtifactGone,
    Conflict,
    FieldInvalid,
    Forbidden,
    JobNotFound,
    TooManyJobs,
    VersionNotFound,
)
from core.evaluation.order import order_evaluation
from core.job_types.retry import retry_job
from core.jobs.orders import (
    ConvertOrder,
    EraseOrder,
    EvaluateOrder,
    ImportImagesOrder,
    ImportOrder,
    ImportVersionOrder,
    JobType,
)
from core.jobs.queue import JobRequest, cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus, Monitor
from core.operations.maintenance import delete_expired, end_cancelled_jobs
from core.principal import Principal, Role
from core.registry.configure import configure_model
from core.registry.version_rows import Versions
from core.registry.versions import Model, ServingPrecision
from core.settings import Settings
from core.training.order import order_update
from core.values import JobId, ModelId
from tests.support.claims import abandon, checkpoint, claim, store
from tests.support.erasures import entry_of
from tests.support.erasures import order as order_erasure
from tests.support.factories import NOW, a_job, a_job_of_no_model, digest
from tests.support.notifiers import RecordingNotifier
from tests.support.ordering import ME, a_teachable_model, an_order, is_queued_and_announced, named
from tests.support.scene import Scene
from tests.support.storage.databases import commit_beside

BF16 = ServingPrecision.BF16


def test_cancelling_job_whose_worker_died_is_cancelled_and_not_run(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    abandon(scene)
    cancel_job(scene.platform, job.id)
    ended = scene.run()
    assert (ended.id, ended.status) == (job.id, JobStatus.CANCELLED)
    assert scene.script.tasks == []


def test_cancelling_job_whose_worker_lives_is_left_to_it(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))

    def cancel(monitor: Monitor) -> None:
        cancel_job(scene.platform, job.id)
        end_cancelled_jobs(scene.platform)
        assert scene.job(job).status is JobStatus.CANCELLING
        monitor.advance("training", 1, 2)

    scene.script.training = cancel
    assert scene.run().status is JobStatus.CANCELLED


def test_cancelling_job_that_is_lost_too_often_is_cancelled_and_not_failed(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    for _ in range(3):
        abandon(scene)
    cancel_job(scene.platform, job.id)
    assert abandon(scene, expected=False) is None
    ended = scene.job(job)
    assert (ended.status, ended.error) == (JobStatus.CANCELLED, None)
    last = scene.events(job)[-1]
    assert (last.kind, last.data["status"]) == ("done", "cancelled")


def test_cancellation_that_comes_as_the_job_ends_keeps_the_alias_where_it_is(
    scene: Scene,
) -> None:
    model = scene.model()
    job = scene.update(model, scene.frozen("cat", "dog"))
    left = [1, 2]  # candidate and parent, who is the root

    def cancel_at_the_last_question(monitor: Monitor) -> None:
        monitor.advance("evaluating", 1, 1)
        left.pop()
        if not left:
            cancel_job(scene.platform, job.id)

    scene.script.evaluating = cancel_at_the_last_question
    ended = scene.run()
    assert (ended.status, ended.result) == (JobStatus.CANCELLED, None)
    assert scene.version(model, 2).verdict is None
    assert scene.live(model) == 1


def test_checkpoint_of_a_job_that_was_cancelled_in_the_queue_is_swept(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    claimed = abandon(scene)
    spent = checkpoint(scene, claimed)
    with scene.platform.transactions() as work:
        work[Jobs].release(job.id, claimed.fence)
        work.commit()
    delete_expired(scene.platform)
    assert scene.platform.artifacts.has(spent)
    cancel_job(scene.platform, job.id)
    delete_expired(scene.platform)
    assert not scene.platform.artifacts.has(spent)
    assert scene.job(job).checkpoint is None


def test_job_that_is_claimed_while_it_is_cancelled_stops_at_its_next_step(scene: Scene) -> None:
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    with scene.platform.transactions() as work:
        assert work[Jobs].claim("w", 60, 3) is not None
        cancellation = commit_beside(work, cancel_job, scene.platform, job.id)
    assert cancellation.result().status is JobStatus.CANCELLING


LATER = NOW + timedelta(minutes=2)


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_teachable_model(scene)


def test_a_cancellation_is_in_the_history(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    later = replace(scene.platform, clock=lambda: LATER)
    queued = order_evaluation(scene.platform, notifier, ME, model=model.name, version=2)
    assert cancel_job(later, queued.id) == scene.job(queued)
    assert (scene.job(queued).status, scene.job(queued).finished_at) == ("cancelled", LATER)
    running = order_evaluation(scene.platform, notifier, ME, model=model.name, version=2)
    claim(scene.platform.transactions)
    assert cancel_job(later, running.id).status is JobStatus.CANCELLING
    for job, status in ((queued, "cancelled"), (running, "cancelling")):
        last = scene.events(job)[-1]
        assert (last.kind, last.data, last.at) == (status, {}, LATER)


def test_a_retry_is_judged_by_what_is_in_force_now(
    scene: Scene, notifier: RecordingNotifier, model: Model, log: pytest.LogCaptureFixture
) -> None:
    order = an_order(scene.frozen("owl", "elk"))
    asked = replace(ME, priority=7, metadata={"team": "shoes"})
    first = order_update(scene.platform, notifier, asked, model=model.name, order=order)
    cancel_job(scene.platform, first.id)
    configure_model(scene.platform, model.name, suites=(), policy="default", reason="a test")
    notifier.notified.clear()
    log.clear()
    again = retry_job(scene.platform, notifier, ME, first.id)
    assert again == replace(
        first,
        id=again.id,
        suites=(),
        policy=named(scene, model.name).policy,
        retry_of=first.id,
    )
    assert again.id != first.id
    is_queued_and_announced(scene, notifier, again, log)


def test_a_retry_waits_among_the_jobs_that_its_model_may_have(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    platform = replace(scene.platform, settings=Settings(max_waiting_per_model=1))
    first = order_evaluation(platform, notifier, ME, model=model.name, version=2)
    cancel_job(platform, first.id)
    order_evaluation(platform, notifier, ME, model=model.name, version=2)
    with pytest.raises(TooManyJobs):
        retry_job(platform, notifier, ME, first.id)


@pytest.mark.parametrize("status", ["queued", "running", "cancelling", "succeeded"])
def test_only_what_failed_or_was_cancelled_is_tried_again(
    scene: Scene, notifier: RecordingNotifier, model: Model, status: str
) -> None:
    job = a_job(model, status=JobStatus(status))
    store(scene.platform.transactions, job)
    with pytest.raises(Conflict) as caught:
        retry_job(scene.platform, notifier, ME, job.id)
    assert caught.value.message == "Only a failed or cancelled job can be retried."
    assert (type(caught.value), caught.value.facts) == (Conflict, {})
    assert notifier.notified == []


def failed(scene: Scene, model: Model, **changes: Any) -> JobId:
    """A job that has failed."""
    job = a_job(model, **changes).fail({"code": "x"}, NOW)
    store(scene.platform.transactions, job)
    return job.id


def test_what_could_not_start_is_not_tried_again(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    update = an_order(scene.frozen("owl", "elk"), parent=9)
    jobs = {
        Conflict: failed(scene, model),
        VersionNotFound: failed(scene, model, type=JobType.UPDATE, order=update),
        FieldInvalid: failed(scene, model, type=JobType.EVALUATE, order=EvaluateOrder(version=1)),
        AliasNotFound: failed(  # it was deleted since
            scene, model, type=JobType.EVALUATE, order=EvaluateOrder(version=2, alias="staging")
        ),
    }
    for error, job in jobs.items():
        with pytest.raises(error):
            retry_job(scene.platform, notifier, ME, job)
    conversion = ConvertOrder(precision=BF16, parent=2)
    of_gone = failed(scene, model, type=JobType.CONVERT, order=conversion)
    with scene.platform.transactions() as work:
        work[Versions].release_weights(model.id, 2, NOW)
        work.commit()
    with pytest.raises(ArtifactGone):
        retry_job(scene.platform, notifier, ME, of_gone)


def test_a_failed_import_is_tried_again(scene: Scene, notifier: RecordingNotifier) -> None:
    first = create_model(scene.platform, notifier, ME, name="demo", base="bundled")
    cancel_job(scene.platform, first.id)
    again = retry_job(scene.platform, notifier, ME, first.id)
    assert again == replace(first, id=again.id, retry_of=first.id)


EVERYBODY = {
    "viewer": (Role.VIEWER, None),
    "contributor": (Role.CONTRIBUTOR, None),
    "of another model": (Role.CONTRIBUTOR, "another"),
    "operator": (Role.OPERATOR, None),
    "its operator": (Role.OPERATOR, "its"),
    "admin": (Role.ADMIN, None),
}
ANYONE = {*EVERYBODY} - {"viewer"}
OPERATORS = {"operator", "its operator", "admin"}


def test_whoever_may_not_order_a_job_neither_cancels_it_nor_orders_it_again(
    scene: Scene, notifier: RecordingNotifier
) -> None:
    model, data = scene.model(), scene.frozen("owl", "elk")
    update, archive = an_order(data, auto_promote=False), digest("archive")
    images = ImportImagesOrder(
        dataset=data.dataset, archive=archive, archive_format=ArchiveFormat.ZIP, archive_bytes=9
    )
    converted = ConvertOrder(precision=BF16)
    bundle = ImportVersionOrder(archive=archive, archive_bytes=9, digest=digest("weights"))
    erasure = order_erasure(scene, entry_of(scene, data, Side.TRAIN).pixels)
    orders = [
        (JobType.IMPORT, ImportOrder(base="bundled"), {"operator", "admin"}),
        (JobType.UPDATE, update, ANYONE - {"of another model"}),
        (JobType.UPDATE, replace(update, auto_promote=True), OPERATORS),
        (JobType.UPDATE, replace(update, replaces=2), {"admin"}),
        (JobType.CONVERT, replace(converted, auto_promote=False), ANYONE - {"of another model"}),
        (JobType.CONVERT, converted, OPERATORS),
        (JobType.CONVERT, replace(converted, replaces=2), {"admin"}),
        (JobType.EVALUATE, EvaluateOrder(version=2), ANYONE - {"of another model"}),
        (JobType.IMPORT_VERSION, bundle, {"admin"}),
        (JobType.IMPORT_IMAGES, images, ANYONE),
        (JobType.ERASE, EraseOrder(erasure=erasure.id), {"admin"}),
    ]
    for job_type, order, may in orders:
        without = job_type in {JobType.IMPORT_IMAGES, JobType.ERASE}
        for name, (role, only) in EVERYBODY.items():
            job = a_job_of_no_model("x") if without else a_job(model)
            job = replace(job, type=job_type, order=order)
            store(scene.platform.transactions, job)
            models = only and frozenset({model.id if only == "its" else ModelId("model_other")})
            who = Principal(name=name, role=role, models=models)
            theirs = scene.platform.on_behalf_of(who)
            if name in may:
                assert cancel_job(theirs, job.id).status is JobStatus.CANCELLED, (name, order)
                continue
            with pytest.raises((Forbidden, JobNotFound)):
                cancel_job(theirs, job.id)
            assert scene.job(job) == job
            cancel_job(scene.platform, job.id)
            with pytest.raises((Forbidden, JobNotFound)):
                retry_job(theirs, notifier, JobRequest(principal=who), job.id)
    assert notifier.notified == []
