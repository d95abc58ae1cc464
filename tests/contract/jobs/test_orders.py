"""Orders become jobs, each with its first event, a notification and a log line, within limits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from core.bases.create_model import create_model
from core.database.idempotency import Idempotency
from core.database.work import Work
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.erasure.order import order_erasure
from core.erasure.rules import Retraining
from core.errors import IdempotencyMismatch, InProgress, NameTaken, TooManyJobs
from core.evaluation.order import order_evaluation
from core.gate.policies import create_policy
from core.gate.rows import Policies
from core.job_types.retry import retry_job
from core.jobs.orders import EvaluateOrder, ImportOrder, JobType, Queue
from core.jobs.queue import JobRequest, cancel_job, enqueue, require_queue_room
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.platform import Platform
from core.principal import Principal
from core.registry.versions import Model
from core.settings import Settings
from core.training.order import order_update
from core.values import DatasetId, KeyId
from tests.support.claims import claim
from tests.support.erasures import entry_of
from tests.support.evaluation.judged import go_live
from tests.support.factories import NOW, TESTER, a_policy, digest
from tests.support.notifiers import RecordingNotifier, SilentNotifier
from tests.support.ordering import ME, a_teachable_model, an_order, is_queued_and_announced, named
from tests.support.scene import Scene
from tests.support.storage.databases import commit_beside

KEYED = JobRequest(principal=TESTER, key="k", body=digest("body"))

LATER = NOW + timedelta(minutes=2)


@pytest.fixture
def model(scene: Scene) -> Model:
    return a_teachable_model(scene)


def test_a_new_model_is_named_and_its_import_is_judged_by_nothing(
    scene: Scene, notifier: RecordingNotifier, log: pytest.LogCaptureFixture
) -> None:
    made = scene.model("other")
    suites = [
        scene.suite(made, scene.frozen(*classes, offset=offset), name)
        for name, classes, offset in (("b", ("sun", "sky"), 0), ("a", ("sea", "mud"), 8))
    ]
    policy = create_policy(scene.platform, a_policy(reason="a test"))
    job = create_model(
        scene.platform,
        notifier,
        ME,
        name="demo",
        base="bundled",
        suites=("b", suites[1].id, suites[0].id),
        policy=policy.name,
    )
    model = named(scene, "demo")
    assert model.id.startswith("model_")
    assert (model.suites, model.policy, model.created_at) == (
        tuple(suite.id for suite in suites),
        policy.id,
        NOW,
    )
    assert job.id.startswith("job_")
    assert job == Job(
        id=job.id,
        ordered_by=TESTER.id,
        type=JobType.IMPORT,
        model=model.id,
        lane=model.id,
        order=ImportOrder(base="bundled"),
        created_at=NOW,
    )
    is_queued_and_announced(scene, notifier, job, log)
    assert notifier.notified[0][1] is Queue.HOUSEKEEPING


def test_a_model_whose_import_failed_is_made_anew_under_its_id(
    scene: Scene, notifier: RecordingNotifier
) -> None:
    first = create_model(scene.platform, notifier, ME, name="demo", base="bundled")
    before = named(scene, "demo")
    assert (before.suites, before.policy) == ((), policy_of(scene, "default"))
    with pytest.raises(NameTaken):
        create_model(scene.platform, notifier, ME, name="demo", base="bundled")
    cancel_job(scene.platform, first.id)
    policy = create_policy(scene.platform, a_policy(reason="a test"))
    suite = scene.suite(scene.model("other"), scene.frozen("sun", "sky"), "kept")
    later = replace(scene.platform, clock=lambda: LATER)
    again = create_model(
        later, notifier, ME, name="demo", base="bundled", suites=("kept",), policy=policy.name
    )
    wanted = replace(before, suites=(suite.id,), policy=policy.id)
    assert named(scene, "demo") == wanted
    assert (again.model, again.created_at) == (before.id, LATER)


def policy_of(scene: Scene, name: str) -> str:
    with scene.platform.transactions(read_only=True) as work:
        return work[Policies].get(name).id


def test_an_update_is_queued_with_what_it_will_be_judged_by(
    scene: Scene, notifier: RecordingNotifier, model: Model, log: pytest.LogCaptureFixture
) -> None:
    data = scene.frozen("owl", "elk")
    with scene.platform.transactions(read_only=True) as work:
        name = work[Datasets].get(data.dataset).name
    order = an_order(data, dataset=DatasetId(name), parent=2, prompt="a photo of a {name}.")
    asked = replace(ME, priority=7, metadata={"team": "shoes"})
    job = order_update(scene.platform, notifier, asked, model=model.name, order=order)
    assert job == Job(
        id=job.id,
        ordered_by=TESTER.id,
        type=JobType.UPDATE,
        model=model.id,
        lane=model.id,
        order=replace(order, dataset=data.dataset),
        priority=7,
        suites=model.suites,
        policy=model.policy,
        metadata={"team": "shoes"},
        created_at=NOW,
    )
    is_queued_and_announced(scene, notifier, job, log)
    plain = order_update(scene.platform, notifier, ME, model=model.id, order=order)
    assert (plain.priority, plain.metadata) == (0, {})


def test_an_evaluation_is_queued_with_what_it_will_be_judged_by(
    scene: Scene, notifier: RecordingNotifier, model: Model, log: pytest.LogCaptureFixture
) -> None:
    go_live(scene, model, 1, alias="staging", reason="for this test", override=True)
    urgent = replace(ME, priority=7)
    job = order_evaluation(
        scene.platform, notifier, urgent, model=model.name, version=2, alias="staging"
    )
    assert job == Job(
        id=job.id,
        ordered_by=TESTER.id,
        type=JobType.EVALUATE,
        model=model.id,
        lane=model.id,
        order=EvaluateOrder(version=2, alias="staging"),
        priority=7,
        suites=model.suites,
        policy=model.policy,
        created_at=NOW,
    )
    is_queued_and_announced(scene, notifier, job, log)
    plain = order_evaluation(scene.platform, notifier, ME, model=model.id, version=2)
    assert (plain.order, plain.priority) == (EvaluateOrder(version=2, alias="production"), 0)


def test_an_order_with_a_key_is_made_once(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    order = an_order(scene.frozen("owl", "elk"))
    orders: dict[str, Callable[[JobRequest], Job]] = {
        "import": lambda request: create_model(
            scene.platform, notifier, request, name="other", base="bundled"
        ),
        "update": lambda request: order_update(
            scene.platform, notifier, request, model=model.name, order=order
        ),
        "evaluate": lambda request: order_evaluation(
            scene.platform, notifier, request, model=model.name, version=2
        ),
        "retry": lambda request: retry_job(scene.platform, notifier, request, cancelled.id),
    }
    cancelled = cancel_job(scene.platform, orders["update"](ME).id)
    notifier.notified.clear()
    for key, place in orders.items():
        request = replace(KEYED, key=key)
        made = place(request)
        assert place(request) == made
        with pytest.raises(IdempotencyMismatch):
            place(replace(request, body=digest("another body")))
        assert [job for job, _ in notifier.notified] == [made.id]
        notifier.notified.clear()
        with scene.platform.transactions(read_only=True) as work:
            reply = work[Idempotency].find(TESTER.name, key)
        assert (reply.body, reply.job, reply.created_at) == (request.body, made.id, NOW)
    evaluated = replace(KEYED, key="evaluate")
    others = [
        replace(evaluated, principal=replace(TESTER, name="you")),
        *[ME, replace(evaluated, key=None), replace(evaluated, body=None)] * 2,
    ]
    made_each_time = {orders["evaluate"](request).id for request in (evaluated, *others)}
    assert len(made_each_time) == 1 + len(others)


def test_a_job_is_stored_with_its_key_or_not_at_all(
    scene: Scene, notifier: RecordingNotifier, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Idempotency, "add", Mock(side_effect=InProgress))
    with pytest.raises(InProgress):
        order_evaluation(scene.platform, notifier, KEYED, model=model.name, version=2)
    with scene.platform.transactions(read_only=True) as work:
        assert work[Jobs].page(9, None, status=JobStatus.QUEUED) == []
    assert not notifier.notified


def test_of_many_who_make_a_model_again_at_once_one_does(
    scene: Scene, notifier: RecordingNotifier
) -> None:
    first = create_model(scene.platform, notifier, ME, name="demo", base="bundled")
    cancel_job(scene.platform, first.id)

    def make(_: int) -> bool:
        try:
            create_model(scene.platform, notifier, ME, name="demo", base="bundled")
        except NameTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(8))) == [False] * 7 + [True]


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


def test_two_orders_at_once_do_not_both_take_the_last_place(scene: Scene) -> None:
    platform, demo = limited(scene, max_waiting_per_model=1), scene.model()
    with platform.transactions() as work:
        enqueue_within(work, platform, demo)
        second = commit_beside(work, order, platform, demo)
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


def test_without_limits_any_number_waits_and_a_job_that_runs_does_not(scene: Scene) -> None:
    platform, demo = limited(scene, max_waiting_per_model=0, max_waiting_per_key=0), scene.model()
    assert len({order(platform, demo).id for _ in range(2)}) == 2
    assert claim(platform.transactions) is not None
    order(limited(scene, max_waiting_per_model=2, max_waiting_per_key=2), demo)
