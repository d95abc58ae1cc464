"""Ordering jobs, following and ending them."""

import uuid
from datetime import UTC, datetime

import pytest

from core.datasets.manifests import Side
from core.jobs.rows import Jobs
from core.registry.rows import Models
from perennial.errors import JobFailed, ServiceError
from perennial.requests import ImageFile
from perennial.types import Job
from tests.support.api.image_files import pictures_on
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.served import Served
from tests.support.factories import NOW, a_job

TAUGHT = [
    (text, ImageFile(file_name=f"{n}.png", data=data))
    for n, data in enumerate(pictures_on(Side.TRAIN, 6))
    for text in [("boot", "bag")[n % 2]]
]


@pytest.fixture
def model(served: Served) -> str:
    """A model of the test's own, with a root and a candidate."""
    root = a_root(served.platform, f"m-{uuid.uuid4().hex}")
    a_candidate(served.platform, root)
    return root.name


@pytest.fixture(scope="module")
def dataset(served: Served) -> str:
    """A frozen dataset of two classes."""
    served.client.datasets.create("products")
    served.client.datasets.upload("products", TAUGHT)
    served.client.datasets.freeze("products")
    return "products"


@pytest.fixture
def update(served: Served, model: str, dataset: str) -> Job:
    """A queued update of the model."""
    return served.client.jobs.order_update(model=model, dataset=dataset, dataset_version=1)


def test_an_update_is_ordered_with_what_is_given(served: Served, model: str, dataset: str) -> None:
    job = served.client.jobs.order_update(
        model=model,
        dataset=dataset,
        dataset_version=1,
        parent=1,
        recipe={"epochs": 3},
        priority=4,
        metadata={"team": "shop"},
    )
    assert (job["type"], job["status"], job["model"]) == ("update", "queued", model)
    assert (job["priority"], job["metadata"]) == (4, {"team": "shop"})
    assert job["recipe"] is not None
    assert job["recipe"]["epochs"] == 3
    assert served.client.jobs.get(job["id"]) == job


def test_an_update_is_advised_on_and_not_ordered(served: Served, model: str, dataset: str) -> None:
    advice = served.client.jobs.advise_update(
        model=model, dataset=dataset, dataset_version=1, parent=1, recipe={"epochs": 3}
    )
    assert (advice["model"], advice["parent_version"]) == (model, 1)
    assert (advice["recipe"]["epochs"], advice["steps"]) == (3, 3)
    assert [row["name"] for row in advice["classes"]] == ["bag", "boot"]
    assert "zero_shot_unknown" in {finding["code"] for finding in advice["findings"]}
    assert not list(served.client.jobs.list(model=model, job_type="update"))
    with pytest.raises(ServiceError, match="dataset_version_not_found"):
        served.client.jobs.advise_update(model=model, dataset=dataset, dataset_version=2)


def test_an_order_with_a_key_is_placed_once(served: Served, model: str) -> None:
    first, again, other = (
        served.client.jobs.order_evaluation(model=model, version=2, idempotency_key=model + key)
        for key in ("a", "a", "b")
    )
    assert first["id"] == again["id"] != other["id"]


def test_jobs_are_listed_by_model_and_type(served: Served, model: str, update: Job) -> None:
    served.client.jobs.order_evaluation(model=model, version=2)
    updates = served.client.jobs.list(model=model, job_type="update", status="queued")
    assert [job["id"] for job in updates] == [update["id"]]


def test_jobs_are_listed_by_time_and_metadata(served: Served, model: str) -> None:
    now = datetime.now(UTC)
    jobs = list(served.client.jobs.list(model=model, created_until=now))
    assert jobs
    assert not list(served.client.jobs.list(model=model, created_since=now))
    assert not list(served.client.jobs.list(model=model, metadata="team:nobody"))


def test_waiting_returns_a_job_that_has_succeeded(served: Served, model: str) -> None:
    job = served.client.versions.get(model, 1)["job"]
    seen: list[Job] = []
    assert served.client.jobs.wait(job, seen.append) == seen[-1]
    assert [state["status"] for state in seen] == ["succeeded"]


def test_waiting_raises_a_cancelled_job_after_showing_every_state(
    served: Served, update: Job
) -> None:
    seen: list[str] = []

    def cancel(job: Job) -> None:
        seen.append(job["status"])
        if job["status"] == "queued":
            served.client.jobs.cancel(job["id"])

    with pytest.raises(JobFailed, match=f"^Job {update['id']} was cancelled$") as raised:
        served.client.jobs.wait(update["id"], cancel, every=0.01)
    assert seen == ["queued", "cancelled"]
    assert raised.value.job["status"] == "cancelled"


def test_waiting_raises_a_failed_job_with_its_reason(served: Served, model: str) -> None:
    error = {"code": "rank_lost", "message": "A rank has ended."}
    with served.platform.transactions() as work:
        job = a_job(work[Models].get(model)).fail(error, NOW)
        work[Jobs].add(job)
        work.commit()
    with pytest.raises(JobFailed, match=r"failed: rank_lost: A rank has ended\.$") as raised:
        served.client.jobs.wait(job.id)
    assert raised.value.job["error"] == error


def test_waiting_ends_in_time(served: Served, update: Job) -> None:
    with pytest.raises(TimeoutError, match="is queued after 0 s"):
        served.client.jobs.wait(update["id"], every=0.01, timeout=0)


def test_a_cancelled_job_is_ordered_again_as_a_new_one(served: Served, update: Job) -> None:
    served.client.jobs.cancel(update["id"])
    again = served.client.jobs.retry(update["id"])
    assert (again["retry_of"], again["status"]) == (update["id"], "queued")
    with pytest.raises(ServiceError, match="409"):
        served.client.jobs.retry(again["id"])


def test_events_are_told_in_order_and_from_any_one_on(served: Served, update: Job) -> None:
    served.client.jobs.cancel(update["id"])
    events = list(served.client.jobs.events(update["id"]))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert list(served.client.jobs.events(update["id"], after=1)) == events[1:]


def test_classes_are_taught_in_one_call(served: Served, model: str) -> None:
    start = served.client.models.teach(model, TAUGHT, recipe={"epochs": 2})
    assert [receipt["text"] for receipt in start["files"]] == [text for text, _ in TAUGHT]
    assert start["job"]["recipe"] is not None
    assert start["job"]["recipe"]["epochs"] == 2
    assert served.client.models.classes(model)["data"] == []


def test_a_model_is_created_and_its_policy_changed(served: Served) -> None:
    job = served.client.models.create("new", base="bundled")
    assert (job["type"], job["model"]) == ("import", "new")
    served.client.policies.create("strict", parent_tolerance=0.0)
    assert served.client.models.change("new", policy="strict")["policy"] == "strict"
    assert served.client.models.get("new")["policy"] == "strict"
    assert "new" in {model["name"] for model in served.client.models.list()}
