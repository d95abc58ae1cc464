"""What an order becomes: a job with its first event, a ring and a line in the log; or a refusal."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.domain.datasets.dataset import DatasetKind, DatasetRef, DatasetVersion
from core.domain.jobs.job import (
    EvaluateOrder,
    ImportOrder,
    Job,
    JobStatus,
    JobType,
    Queue,
    UpdateOrder,
)
from core.domain.recipes.choices import Method
from core.domain.recipes.recipe import Recipe
from core.domain.registry.alias import MoveKind
from core.domain.registry.version import Model, Version
from core.domain.values import DatasetId, JobId
from core.errors import (
    AliasNotFound,
    BaseUnknown,
    Conflict,
    DatasetVersionNotFound,
    FieldInvalid,
    IdempotencyMismatch,
    NameTaken,
    PerennialError,
    PromptInvalid,
    TooFewClasses,
    TooFewPerClass,
    VersionNotFound,
)
from core.use_cases.datasets.suites import configure_model, create_policy
from core.use_cases.evaluation.order_evaluation import order_evaluation
from core.use_cases.jobs.queue import JobRequest, cancel_job
from core.use_cases.registry.create_model import create_model
from core.use_cases.registry.move_alias import move_alias
from core.use_cases.retry_job import retry_job
from core.use_cases.training.order_update import order_update
from tests.support.api.seeds import a_candidate
from tests.support.factories import NOW, TESTER, a_job, a_policy, digest
from tests.support.scene import Scene
from tests.support.silent_notifier import Bell

ME = JobRequest(principal=TESTER)
KEYED = JobRequest(principal=TESTER, key="k", body=digest("body"))
LATER = NOW + timedelta(minutes=2)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def model(scene: Scene) -> Model:
    """A model with a root, a second version, and a suite and policy of its own."""
    model = scene.model()
    a_candidate(scene.platform, model, teaches=("cat", "dog"))
    scene.suite(model, scene.frozen("sun", "sky", offset=80), "kept")
    policy = create_policy(scene.platform, a_policy())
    configure_model(scene.platform, model.name, suites=None, policy=policy.name)
    return named(scene, model.name)


def named(scene: Scene, name: str) -> Model:
    with scene.platform.transactions(read_only=True) as work:
        return work.models.get(name)


def an_order(data: DatasetVersion, **changes: Any) -> UpdateOrder:
    made = UpdateOrder(dataset=data.dataset, dataset_version=data.number, recipe=Recipe())
    return replace(made, **changes)


def is_queued_and_announced(scene: Scene, bell: Bell, job: Job, log: Any) -> None:
    """Check a new job against the database, the queue's bell and the log."""
    assert scene.job(job) == job
    (event,) = scene.events(job)
    assert (event.kind, event.data, event.at) == ("queued", {}, NOW)
    assert bell.rung == [(job.id, job.type.queue)]
    (line,) = [line for line in log.records if line.name == "core.use_cases.jobs.queue"]
    assert (line.levelno, line.getMessage()) == (logging.INFO, "job queued")
    assert (vars(line)["job"], vars(line)["type"]) == (job.id, job.type.value)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


# ---- What is ordered ------------------------------------------------------------------------


def test_a_new_model_is_named_and_its_import_is_judged_by_nothing(
    scene: Scene, bell: Bell, log: pytest.LogCaptureFixture
) -> None:
    made = scene.model("other")
    suites = [
        scene.suite(made, scene.frozen(*classes, offset=offset), name)
        for name, classes, offset in (("b", ("sun", "sky"), 0), ("a", ("sea", "mud"), 8))
    ]
    policy = create_policy(scene.platform, a_policy())
    job = create_model(
        scene.platform,
        bell,
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
        type=JobType.IMPORT,
        model=model.id,
        order=ImportOrder(base="bundled"),
        created_at=NOW,
    )
    is_queued_and_announced(scene, bell, job, log)
    assert bell.rung[0][1] is Queue.HOUSEKEEPING


def test_a_model_whose_import_failed_is_made_anew_under_its_id(scene: Scene, bell: Bell) -> None:
    first = create_model(scene.platform, bell, ME, name="demo", base="bundled")
    before = named(scene, "demo")
    assert (before.suites, before.policy) == ((), policy_of(scene, "default"))
    with pytest.raises(NameTaken):
        create_model(scene.platform, bell, ME, name="demo", base="bundled")
    cancel_job(scene.platform, first.id)
    policy = create_policy(scene.platform, a_policy())
    suite = scene.suite(scene.model("other"), scene.frozen("sun", "sky"), "kept")
    later = replace(scene.platform, clock=lambda: LATER)
    again = create_model(
        later, bell, ME, name="demo", base="bundled", suites=("kept",), policy=policy.name
    )
    wanted = replace(before, suites=(suite.id,), policy=policy.id)
    assert named(scene, "demo") == wanted
    assert (again.model, again.created_at) == (before.id, LATER)


def policy_of(scene: Scene, name: str) -> str:
    with scene.platform.transactions(read_only=True) as work:
        return work.policies.get(name).id


def test_an_update_is_queued_with_what_it_will_be_judged_by(
    scene: Scene, bell: Bell, model: Model, log: pytest.LogCaptureFixture
) -> None:
    data = scene.frozen("owl", "elk")
    with scene.platform.transactions(read_only=True) as work:
        name = work.datasets.get(data.dataset).name
    order = an_order(data, dataset=DatasetId(name), parent=2, prompt="a {name}.")
    job = order_update(
        scene.platform,
        bell,
        ME,
        model=model.name,
        order=order,
        priority=7,
        metadata={"team": "shoes"},
    )
    assert job == Job(
        id=job.id,
        type=JobType.UPDATE,
        model=model.id,
        order=replace(order, dataset=data.dataset),
        priority=7,
        suites=model.suites,
        policy=model.policy,
        metadata={"team": "shoes"},
        created_at=NOW,
    )
    is_queued_and_announced(scene, bell, job, log)
    plain = order_update(scene.platform, bell, ME, model=model.id, order=order)
    assert (plain.priority, plain.metadata) == (0, {})


def test_an_evaluation_is_queued_with_what_it_will_be_judged_by(
    scene: Scene, bell: Bell, model: Model, log: pytest.LogCaptureFixture
) -> None:
    point(scene, "staging", scene.version(model, 1))
    job = order_evaluation(
        scene.platform, bell, ME, model=model.name, version=2, alias="staging", priority=7
    )
    assert job == Job(
        id=job.id,
        type=JobType.EVALUATE,
        model=model.id,
        order=EvaluateOrder(version=2, alias="staging"),
        priority=7,
        suites=model.suites,
        policy=model.policy,
        created_at=NOW,
    )
    is_queued_and_announced(scene, bell, job, log)
    plain = order_evaluation(scene.platform, bell, ME, model=model.id, version=2)
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


def test_a_reference_set_is_named_by_its_id(scene: Scene, bell: Bell, model: Model) -> None:
    seen = scene.frozen("red", "blue", offset=40)
    with scene.platform.transactions(read_only=True) as work:
        name = work.datasets.get(seen.dataset).name
    order = an_order(
        scene.frozen("owl", "elk"),
        recipe=Recipe(method=Method.ZSCL),
        reference=DatasetRef(dataset=DatasetId(name), version=1),
    )
    job = order_update(scene.platform, bell, ME, model=model.name, order=order)
    known = DatasetRef(dataset=seen.dataset, version=1)
    assert job.order == replace(order, reference=known)
    with pytest.raises(DatasetVersionNotFound):
        order_update(
            scene.platform,
            bell,
            ME,
            model=model.name,
            order=replace(order, reference=replace(known, version=2)),
        )


def test_an_update_may_be_ordered_before_its_model_has_a_root(scene: Scene, bell: Bell) -> None:
    create_model(scene.platform, bell, ME, name="new", base="bundled")
    order = an_order(scene.frozen("owl", "elk"))
    assert order_update(scene.platform, bell, ME, model="new", order=order).order == order


# ---- Once only ------------------------------------------------------------------------------


def test_an_order_with_a_key_is_made_once(scene: Scene, bell: Bell, model: Model) -> None:
    order = an_order(scene.frozen("owl", "elk"))
    orders: dict[str, Callable[[JobRequest], Job]] = {
        "import": lambda request: create_model(
            scene.platform, bell, request, name="other", base="bundled"
        ),
        "update": lambda request: order_update(
            scene.platform, bell, request, model=model.name, order=order
        ),
        "evaluate": lambda request: order_evaluation(
            scene.platform, bell, request, model=model.name, version=2
        ),
        "retry": lambda request: retry_job(scene.platform, bell, request, cancelled.id),
    }
    cancelled = cancel_job(scene.platform, orders["update"](ME).id)
    bell.rung.clear()
    for key, place in orders.items():
        request = replace(KEYED, key=key)
        made = place(request)
        assert place(request) == made
        with pytest.raises(IdempotencyMismatch):
            place(replace(request, body=digest("another body")))
        assert [job for job, _ in bell.rung] == [made.id]
        bell.rung.clear()
        with scene.platform.transactions(read_only=True) as work:
            reply = work.idempotency.find(TESTER.name, key)
        assert reply is not None
        assert (reply.body, reply.job, reply.created_at) == (request.body, made.id, NOW)


@pytest.mark.parametrize(
    "request_", [ME, replace(KEYED, body=None), replace(KEYED, key=None)], ids=str
)
def test_an_order_without_a_key_or_a_body_is_made_each_time(
    scene: Scene, bell: Bell, model: Model, request_: JobRequest
) -> None:
    made = [
        order_evaluation(scene.platform, bell, request_, model=model.name, version=2).id
        for _ in range(2)
    ]
    assert [job for job, _ in bell.rung] == made
    assert len(set(made)) == 2


def test_a_key_of_somebody_else_is_another_one(scene: Scene, bell: Bell, model: Model) -> None:
    made = {
        order_evaluation(
            scene.platform,
            bell,
            replace(KEYED, principal=replace(TESTER, name=name)),
            model=model.name,
            version=2,
        ).id
        for name in ("me", "you")
    }
    assert len(made) == 2


# ---- Cancelled and tried again --------------------------------------------------------------


def test_a_cancellation_is_in_the_history(scene: Scene, bell: Bell, model: Model) -> None:
    later = replace(scene.platform, clock=lambda: LATER)
    queued = order_evaluation(scene.platform, bell, ME, model=model.name, version=2)
    assert cancel_job(later, queued.id) == scene.job(queued)
    assert (scene.job(queued).status, scene.job(queued).finished_at) == ("cancelled", LATER)
    running = order_evaluation(scene.platform, bell, ME, model=model.name, version=2)
    with scene.platform.transactions() as work:
        work.jobs.claim("w", 60, 3)
        work.commit()
    assert cancel_job(later, running.id).status is JobStatus.CANCELLING
    for job, status in ((queued, "cancelled"), (running, "cancelling")):
        last = scene.events(job)[-1]
        assert (last.kind, last.data, last.at) == (status, {}, LATER)


def test_a_retry_is_judged_by_what_is_in_force_now(
    scene: Scene, bell: Bell, model: Model, log: pytest.LogCaptureFixture
) -> None:
    order = an_order(scene.frozen("owl", "elk"))
    first = order_update(
        scene.platform,
        bell,
        ME,
        model=model.name,
        order=order,
        priority=7,
        metadata={"team": "shoes"},
    )
    cancel_job(scene.platform, first.id)
    configure_model(scene.platform, model.name, suites=(), policy="default")
    bell.rung.clear()
    log.clear()
    again = retry_job(scene.platform, bell, ME, first.id)
    assert again == replace(
        first,
        id=again.id,
        suites=(),
        policy=named(scene, model.name).policy,
        retry_of=first.id,
    )
    assert again.id != first.id
    is_queued_and_announced(scene, bell, again, log)


@pytest.mark.parametrize("status", ["queued", "running", "cancelling", "succeeded"])
def test_only_what_failed_or_was_cancelled_is_tried_again(
    scene: Scene, bell: Bell, model: Model, status: str
) -> None:
    job = a_job(model, status=JobStatus(status))
    with scene.platform.transactions() as work:
        work.jobs.add(job)
        work.commit()
    with pytest.raises(Conflict) as caught:
        retry_job(scene.platform, bell, ME, job.id)
    assert told(caught.value) == (
        Conflict,
        "Only a failed or cancelled job can be retried.",
        None,
        {},
    )
    assert bell.rung == []


def failed(scene: Scene, model: Model, **changes: Any) -> JobId:
    """A job that has failed."""
    job = a_job(model, **changes).fail({"code": "x"}, NOW)
    with scene.platform.transactions() as work:
        work.jobs.add(job)
        work.commit()
    return job.id


def test_what_could_not_start_is_not_tried_again(scene: Scene, bell: Bell, model: Model) -> None:
    update = an_order(scene.frozen("owl", "elk"), parent=9)
    jobs = {
        Conflict: failed(scene, model),
        VersionNotFound: failed(scene, model, type=JobType.UPDATE, order=update),
        FieldInvalid: failed(scene, model, type=JobType.EVALUATE, order=EvaluateOrder(version=1)),
    }
    for error, job in jobs.items():
        with pytest.raises(error):
            retry_job(scene.platform, bell, ME, job)


def test_a_failed_import_is_tried_again(scene: Scene, bell: Bell) -> None:
    first = create_model(scene.platform, bell, ME, name="demo", base="bundled")
    cancel_job(scene.platform, first.id)
    again = retry_job(scene.platform, bell, ME, first.id)
    assert again == replace(first, id=again.id, retry_of=first.id)


# ---- What is refused ------------------------------------------------------------------------


def told(error: PerennialError) -> tuple[type, str, str | None, Any]:
    """All that a client sees of an error."""
    return (type(error), error.message, error.pointer, error.facts)


def evaluating(version: int, alias: str = "production") -> Callable[[Scene, Model], Job]:
    return lambda scene, model: order_evaluation(
        scene.platform, Bell(), ME, model=model.name, version=version, alias=alias
    )


def updating(
    kind: DatasetKind = DatasetKind.LABELLED,
    classes: tuple[str, ...] = ("owl", "elk"),
    each: int = 4,
    **changes: Any,
) -> Callable[[Scene, Model], Job]:
    def order(scene: Scene, model: Model) -> Job:
        data = scene.frozen(*classes, each=each, kind=kind)
        return order_update(
            scene.platform, Bell(), ME, model=model.name, order=an_order(data, **changes)
        )

    return order


REFUSALS: dict[str, tuple[Callable[[Scene, Model], Job], type, str | None, str | None]] = {
    "a root": (
        evaluating(1),
        FieldInvalid,
        "A root has nothing to be compared with.",
        "/version",
    ),
    "no version": (evaluating(9), VersionNotFound, None, None),
    "a wrong alias": (evaluating(2, "stagin"), AliasNotFound, None, None),
    "captions": (
        updating(kind=DatasetKind.CAPTIONED),
        FieldInvalid,
        "An update needs a labelled dataset.",
        "/dataset",
    ),
    "no such version of the dataset": (
        updating(dataset_version=2),
        DatasetVersionNotFound,
        None,
        None,
    ),
    "a prompt without a slot": (updating(prompt="no slot"), PromptInvalid, None, None),
    "no prompt": (updating(prompt=""), PromptInvalid, None, None),
    "a parent that is not there": (updating(parent=9), VersionNotFound, None, None),
    "an alias that is not there": (updating(alias="stagin"), AliasNotFound, None, None),
    "too few images": (updating(each=1), TooFewPerClass, None, None),
    "one class": (updating(classes=("owl",)), TooFewClasses, None, "/recipe/label_space"),
    "no reference set": (
        updating(recipe=Recipe(method=Method.ZSCL)),
        FieldInvalid,
        "Method 'zscl' distils a reference set: name a dataset version.",
        "/reference",
    ),
}


@pytest.mark.parametrize(
    ("order", "kind", "message", "pointer"), REFUSALS.values(), ids=REFUSALS.keys()
)
def test_what_could_not_start_is_refused(
    scene: Scene,
    model: Model,
    order: Callable[[Scene, Model], Job],
    kind: type,
    message: str | None,
    pointer: str | None,
) -> None:
    with pytest.raises(kind) as caught:
        order(scene, model)
    error = caught.value
    assert isinstance(error, PerennialError)
    assert (type(error), error.pointer) == (kind, pointer)
    assert message in {None, error.message}
    with scene.platform.transactions(read_only=True) as work:
        assert not work.jobs.page(9, None, status=JobStatus.QUEUED)


def test_a_base_that_nobody_knows_makes_no_model(scene: Scene, bell: Bell) -> None:
    with pytest.raises(BaseUnknown):
        create_model(scene.platform, bell, ME, name="demo", base="nothing")
    assert bell.rung == []
