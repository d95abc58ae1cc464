"""Orders become jobs, each with its first event, a notification and a log line."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from core.bases.create_model import create_model
from core.database.idempotency import Idempotency
from core.datasets.rows import Datasets
from core.errors import IdempotencyMismatch, InProgress, NameTaken
from core.evaluation.order import order_evaluation
from core.gate.policies import create_policy
from core.gate.rows import Policies
from core.job_types.retry import retry_job
from core.jobs.orders import EvaluateOrder, ImportOrder, JobType, Queue
from core.jobs.queue import JobRequest, cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.registry.aliases import MoveKind
from core.registry.promote import move_alias
from core.registry.versions import Model, Version
from core.training.order import order_update
from core.values import DatasetId
from tests.support.factories import NOW, TESTER, a_policy, digest
from tests.support.notifiers import RecordingNotifier
from tests.support.ordering import ME, a_teachable_model, an_order, is_queued_and_announced, named
from tests.support.scene import Scene

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
    policy = create_policy(scene.platform, a_policy())
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
    policy = create_policy(scene.platform, a_policy())
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
    order = an_order(data, dataset=DatasetId(name), parent=2, prompt="a {name}.")
    job = order_update(
        scene.platform,
        notifier,
        ME,
        model=model.name,
        order=order,
        priority=7,
        metadata={"team": "shoes"},
    )
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
    point(scene, "staging", scene.version(model, 1))
    job = order_evaluation(
        scene.platform, notifier, ME, model=model.name, version=2, alias="staging", priority=7
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


def point(scene: Scene, alias: str, version: Version) -> None:
    """Make an alias."""
    with scene.platform.transactions() as work:
        move_alias(
            work,
            None,
            name=alias,
            to=version,
            kind=MoveKind.CREATED,
            reason="",
            actor="me",
            now=NOW,
        )
        work.commit()


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
        assert reply is not None
        assert (reply.body, reply.job, reply.created_at) == (request.body, made.id, NOW)


def test_a_job_is_stored_with_its_key_or_not_at_all(
    scene: Scene, notifier: RecordingNotifier, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_in_flight(*_: object) -> None:
        raise InProgress

    monkeypatch.setattr(Idempotency, "add", is_in_flight)
    with pytest.raises(InProgress):
        order_evaluation(scene.platform, notifier, KEYED, model=model.name, version=2)
    with scene.platform.transactions(read_only=True) as work:
        assert work[Jobs].page(9, None, status=JobStatus.QUEUED) == []
    assert not notifier.notified


@pytest.mark.parametrize(
    "request_", [ME, replace(KEYED, body=None), replace(KEYED, key=None)], ids=str
)
def test_an_order_without_a_key_or_a_body_is_made_each_time(
    scene: Scene, notifier: RecordingNotifier, model: Model, request_: JobRequest
) -> None:
    order_evaluation(scene.platform, RecordingNotifier(), KEYED, model=model.name, version=2)
    made = [
        order_evaluation(scene.platform, notifier, request_, model=model.name, version=2).id
        for _ in range(2)
    ]
    assert [job for job, _ in notifier.notified] == made
    assert len(set(made)) == 2


def test_a_key_of_somebody_else_is_another_one(
    scene: Scene, notifier: RecordingNotifier, model: Model
) -> None:
    made = {
        order_evaluation(
            scene.platform,
            notifier,
            replace(KEYED, principal=replace(TESTER, name=name)),
            model=model.name,
            version=2,
        ).id
        for name in ("me", "you")
    }
    assert len(made) == 2
