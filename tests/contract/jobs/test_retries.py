"""Cancelling jobs, and ordering ended ones again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.bases.create_model import create_model
from core.errors import AliasNotFound, Conflict, FieldInvalid, VersionNotFound
from core.evaluation.order import order_evaluation
from core.job_types.retry import retry_job
from core.jobs.orders import EvaluateOrder, JobType
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.registry.configure import configure_model
from core.registry.versions import Model
from core.training.order import order_update
from core.values import JobId
from tests.support.factories import NOW, a_job
from tests.support.notifiers import RecordingNotifier
from tests.support.ordering import ME, a_teachable_model, an_order, is_queued_and_announced, named
from tests.support.scene import Scene

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
    with scene.platform.transactions() as work:
        work[Jobs].claim("w", 60, 3)
        work.commit()
    assert cancel_job(later, running.id).status is JobStatus.CANCELLING
    for job, status in ((queued, "cancelled"), (running, "cancelling")):
        last = scene.events(job)[-1]
        assert (last.kind, last.data, last.at) == (status, {}, LATER)


def test_a_retry_is_judged_by_what_is_in_force_now(
    scene: Scene, notifier: RecordingNotifier, model: Model, log: pytest.LogCaptureFixture
) -> None:
    order = an_order(scene.frozen("owl", "elk"))
    first = order_update(
        scene.platform,
        notifier,
        ME,
        model=model.name,
        order=order,
        priority=7,
        metadata={"team": "shoes"},
    )
    cancel_job(scene.platform, first.id)
    configure_model(scene.platform, model.name, suites=(), policy="default")
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


@pytest.mark.parametrize("status", ["queued", "running", "cancelling", "succeeded"])
def test_only_what_failed_or_was_cancelled_is_tried_again(
    scene: Scene, notifier: RecordingNotifier, model: Model, status: str
) -> None:
    job = a_job(model, status=JobStatus(status))
    with scene.platform.transactions() as work:
        work[Jobs].add(job)
        work.commit()
    with pytest.raises(Conflict) as caught:
        retry_job(scene.platform, notifier, ME, job.id)
    assert caught.value.message == "Only a failed or cancelled job can be retried."
    assert (type(caught.value), caught.value.facts) == (Conflict, {})
    assert notifier.notified == []


def failed(scene: Scene, model: Model, **changes: Any) -> JobId:
    """A job that has failed."""
    job = a_job(model, **changes).fail({"code": "x"}, NOW)
    with scene.platform.transactions() as work:
        work[Jobs].add(job)
        work.commit()
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


def test_a_failed_import_is_tried_again(scene: Scene, notifier: RecordingNotifier) -> None:
    first = create_model(scene.platform, notifier, ME, name="demo", base="bundled")
    cancel_job(scene.platform, first.id)
    again = retry_job(scene.platform, notifier, ME, first.id)
    assert again == replace(first, id=again.id, retry_of=first.id)
