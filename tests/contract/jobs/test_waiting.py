"""The limits on waiting jobs of a model and of a key."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from core.database.work import Work
from core.datasets.manifests import Side
from core.erasure.order import order_erasure
from core.erasure.rules import Retraining
from core.errors import TooManyJobs
from core.jobs.orders import ImportOrder, JobType
from core.jobs.queue import JobRequest, cancel_job, enqueue, require_queue_room
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.platform import Platform
from core.principal import Principal
from core.registry.versions import Model
from core.settings import Settings
from core.values import KeyId
from tests.support.erasures import entry_of
from tests.support.factories import NOW, TESTER
from tests.support.notifiers import SilentNotifier
from tests.support.ordering import ME
from tests.support.scene import Scene


def limited(scene: Scene, **limits: Any) -> Platform:
    """The scene's platform with these limits."""
    return replace(scene.platform, settings=Settings(**limits))


def enqueue_within(work: Work, platform: Platform, model: Model, request: JobRequest = ME) -> Job:
    require_queue_room(platform.settings, work, request.principal, model)
    return enqueue(work, request, model, JobType.IMPORT, ImportOrder(base="bundled"), NOW)


def order(platform: Platform, model: Model, request: JobRequest = ME) -> Job:
    with platform.transactions() as work:
        job = enqueue_within(work, platform, model, request)
        work.commit()
    return job


def test_a_model_has_no_more_waiting_jobs_than_it_may_have(scene: Scene) -> None:
    platform, demo, other = limited(scene, max_waiting_per_model=2), scene.model(), scene.model("o")
    first, _ = order(platform, demo), order(platform, demo)
    with pytest.raises(TooManyJobs, match="The model demo has 2 jobs waiting, of at most 2"):
        order(platform, demo)
    order(platform, other)
    cancel_job(platform, first.id)
    order(platform, demo)


def test_a_key_has_no_more_waiting_jobs_than_it_may_have(scene: Scene) -> None:
    platform, demo, other = limited(scene, max_waiting_per_key=1), scene.model(), scene.model("o")
    mine, yours = (
        JobRequest(principal=Principal(name=name, role=TESTER.role, key=KeyId(f"key_{name}")))
        for name in ("mine", "yours")
    )
    first = order(platform, demo, mine)
    assert scene.job(first).ordered_by == "key_mine"
    with pytest.raises(TooManyJobs, match="You have 1 job waiting, of at most 1"):
        order(platform, other, mine)
    order(platform, demo, yours)
    cancel_job(platform, first.id)
    order(platform, other, mine)


def test_a_job_that_runs_does_not_wait(scene: Scene) -> None:
    platform, demo = limited(scene, max_waiting_per_model=1, max_waiting_per_key=1), scene.model()
    order(platform, demo)
    with platform.transactions() as work:
        assert work[Jobs].claim("w", 60, 3) is not None
        work.commit()
    order(platform, demo)


def test_without_limits_any_number_waits(scene: Scene) -> None:
    platform, demo = limited(scene, max_waiting_per_model=0, max_waiting_per_key=0), scene.model()
    assert len({order(platform, demo).id for _ in range(3)}) == 3


def test_two_orders_at_once_do_not_both_take_the_last_place(scene: Scene) -> None:
    platform, demo = limited(scene, max_waiting_per_model=1), scene.model()
    with ThreadPoolExecutor(1) as pool:
        with platform.transactions() as work:
            enqueue_within(work, platform, demo)
            second = pool.submit(order, platform, demo)
            time.sleep(0.3)
            work.commit()
        with pytest.raises(TooManyJobs):
            second.result()


def test_an_erasure_needs_no_place(scene: Scene) -> None:
    platform = limited(scene, max_waiting_per_model=1, max_waiting_per_key=1)
    image = entry_of(scene, scene.frozen("cat", "dog"), Side.TRAIN).pixels
    order(platform, scene.model())
    erasure = order_erasure(
        platform,
        SilentNotifier(),
        ME,
        images=[image],
        reason="asked for",
        retraining=Retraining.ALL,
    )
    with scene.platform.transactions(read_only=True) as work:
        assert work[Jobs].get(erasure.job).status is JobStatus.QUEUED
