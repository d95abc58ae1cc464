"""Transitions of a job, its queue, the stored form of its order, and buckets of durations."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.datasets.image_lists import Grouping
from core.datasets.rules import DatasetRef
from core.errors import JobFinished
from core.jobs.orders import (
    BlameOrder,
    CompareIndexOrder,
    ConvertOrder,
    EvaluateOrder,
    ExportOrder,
    ImportOrder,
    ImportVersionOrder,
    JobType,
    Order,
    Queue,
    ReembedOrder,
    UpdateOrder,
    order_from_json,
    order_to_json,
)
from core.jobs.rules import Job, JobStatus, Progress, duration, model_of, order_of
from core.recipes.fields import Method
from core.recipes.rules import Recipe
from core.registry.exports import ExportFormat
from core.registry.versions import ServingPrecision
from core.values import DatasetId
from tests.support.factories import NOW, a_job, a_job_of_no_model, a_model, a_policy, digest

LATER = NOW + timedelta(minutes=5)

UPDATE = UpdateOrder(
    dataset=DatasetId("ds_1"),
    dataset_version=2,
    recipe=Recipe(method=Method.ZSCL, seed=3),
    alias="staging",
    parent=4,
    auto_promote=False,
    prompt="a sketch of a {name}.",
    captions=DatasetRef(dataset=DatasetId("ds_3"), version=6),
    reference=DatasetRef(dataset=DatasetId("ds_2"), version=5),
)


def job_that_is(status: JobStatus) -> Job:
    """A job with a checkpoint that has come some way."""
    return replace(
        a_job(a_model(a_policy())),
        status=status,
        phase="training",
        progress=Progress(step=3, total=9),
        checkpoint=digest("checkpoint"),
    )


def test_a_queued_job_is_cancelled_at_once() -> None:
    job = job_that_is(JobStatus.QUEUED)
    wanted = {"status": JobStatus.CANCELLED, "phase": "cancelled", "finished_at": LATER}
    assert job.cancel(LATER) == replace(job, **wanted)


def test_a_running_job_is_marked_for_its_worker_to_see() -> None:
    job = job_that_is(JobStatus.RUNNING)
    assert job.cancel(LATER) == replace(job, status=JobStatus.CANCELLING)


@pytest.mark.parametrize("status", ["cancelling", "succeeded", "failed", "cancelled"])
def test_a_job_is_not_cancelled_twice_nor_after_its_end(status: str) -> None:
    with pytest.raises(JobFinished) as caught:
        job_that_is(JobStatus(status)).cancel(LATER)
    assert caught.value.facts == {"status": status}


ENDS: list[tuple[Callable[[Job], Job], dict[str, Any]]] = [
    (
        lambda job: job.succeed({"version": 2}, LATER),
        {"status": JobStatus.SUCCEEDED, "phase": "done", "result": {"version": 2}},
    ),
    (
        lambda job: job.fail({"code": "internal"}, LATER),
        {"status": JobStatus.FAILED, "phase": "failed", "error": {"code": "internal"}},
    ),
    (
        lambda job: job.cancelled(LATER),
        {"status": JobStatus.CANCELLED, "phase": "cancelled"},
    ),
]


@pytest.mark.parametrize(("end", "wanted"), ENDS, ids=["succeeded", "failed", "cancelled"])
def test_a_job_that_ends_says_how_and_when_and_keeps_no_checkpoint(
    end: Callable[[Job], Job], wanted: dict[str, Any]
) -> None:
    job = job_that_is(JobStatus.RUNNING)
    assert end(job) == replace(job, **wanted, finished_at=LATER, checkpoint=None)


def test_each_pause_is_twice_as_long_as_the_one_before_up_to_two_minutes() -> None:
    job = job_that_is(JobStatus.QUEUED)
    pauses = [replace(job, pauses=count).pause_s for count in range(7)]
    assert pauses == [4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 128.0]


def test_imports_erasures_and_exports_wait_for_workers_without_a_device() -> None:
    assert {kind: kind.queue for kind in JobType} == {
        JobType.IMPORT: Queue.HOUSEKEEPING,
        JobType.UPDATE: Queue.GPU,
        JobType.CONVERT: Queue.GPU,
        JobType.EVALUATE: Queue.GPU,
        JobType.IMPORT_IMAGES: Queue.HOUSEKEEPING,
        JobType.ERASE: Queue.HOUSEKEEPING,
        JobType.BLAME: Queue.GPU,
        JobType.EXPORT: Queue.HOUSEKEEPING,
        JobType.IMPORT_VERSION: Queue.HOUSEKEEPING,
        JobType.COMPARE_INDEX: Queue.GPU,
        JobType.REEMBED: Queue.GPU,
    }


def test_three_states_are_for_good() -> None:
    assert {status for status in JobStatus if status.done} == {"succeeded", "failed", "cancelled"}


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (JobType.IMPORT, ImportOrder(base="bundled")),
        (JobType.UPDATE, UPDATE),
        (JobType.UPDATE, replace(UPDATE, recipe=Recipe(), reference=None)),
        (JobType.CONVERT, ConvertOrder(precision=ServingPrecision.BF16, parent=2, replaces=3)),
        (JobType.EVALUATE, EvaluateOrder(version=2, alias="staging")),
        (JobType.BLAME, BlameOrder(version=2, class_name="owl", by=Grouping.CLASS, suite="zoo")),
        (JobType.BLAME, BlameOrder(version=2)),
        (JobType.EXPORT, ExportOrder(version=2, format=ExportFormat.ONNX_INT8)),
        (
            JobType.IMPORT_VERSION,
            ImportVersionOrder(archive=digest("a"), archive_bytes=9, digest=digest("v")),
        ),
        (JobType.COMPARE_INDEX, CompareIndexOrder(version=2, baseline=1)),
        (JobType.REEMBED, ReembedOrder(version=2, dataset=DatasetId("ds_1"), dataset_version=3)),
    ],
)
def test_an_order_comes_back_from_storage_as_it_was(kind: JobType, order: Order) -> None:
    stored = json.loads(json.dumps(order_to_json(order)))
    assert order_from_json(kind, stored) == order


def test_an_update_is_stored_with_its_recipe_and_other_datasets_spelled_out() -> None:
    assert order_to_json(UPDATE) == {
        "dataset": "ds_1",
        "dataset_version": 2,
        "recipe": UPDATE.recipe.to_json(),
        "given": None,
        "force": False,
        "alias": "staging",
        "parent": 4,
        "auto_promote": False,
        "prompt": "a sketch of a {name}.",
        "captions": {"dataset": "ds_3", "version": 6},
        "reference": {"dataset": "ds_2", "version": 5},
        "replaces": None,
    }


def test_model_and_order_are_those_that_the_type_has() -> None:
    model = a_model(a_policy())
    job = a_job(model)
    assert model_of(job) == model.id
    assert order_of(job, ImportOrder) == job.order
    with pytest.raises(TypeError, match="has no UpdateOrder"):
        order_of(job, UpdateOrder)
    with pytest.raises(TypeError, match="without a model"):
        model_of(a_job_of_no_model("dataset:ds_1"))


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, "0.1"),
        (0.1, "0.1"),
        (0.11, "0.5"),
        (60.0, "60.0"),
        (60.5, "300.0"),
        (43200.0, "43200.0"),
        (43201.0, "inf"),
    ],
)
def test_a_duration_counts_once_in_the_first_bucket_that_holds_it(
    seconds: float, bucket: str
) -> None:
    labels = {"type": "update", "phase": "training"}
    assert list(duration(labels, seconds)) == [
        ({"type": "update", "phase": "training", "le": bucket}, 1.0),
        ({"type": "update", "phase": "training", "sum": ""}, seconds),
    ]
    assert labels == {"type": "update", "phase": "training"}
