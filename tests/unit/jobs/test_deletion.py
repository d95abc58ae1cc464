"""Versions and aliases that may be deleted, and refusals that name what stands in the way."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import InUse
from core.jobs.needs import require_alias_unused, require_version_unused
from core.jobs.orders import (
    BlameOrder,
    CompareIndexOrder,
    EvaluateOrder,
    ExportOrder,
    JobType,
    Order,
    ReembedOrder,
    UpdateOrder,
)
from core.jobs.rules import Job
from core.recipes.rules import Recipe
from core.registry.aliases import Alias
from core.registry.exports import ExportFormat
from core.values import DatasetId
from tests.support.factories import NOW, a_job, a_model, a_policy, a_version

MODEL = a_model(a_policy())

MADE = a_job(MODEL)

# 1 - 2 - 3 - 5, and 4 beside 2
LINE = [
    replace(a_version(MADE, number), parent=parent)
    for number, parent in ((1, None), (2, 1), (3, 2), (4, 1), (5, 3))
]

LIVE = Alias(model=MODEL.id, name="production", version=3, revision=1, updated_at=NOW)


def update(**changes: Any) -> UpdateOrder:
    given = {"dataset": DatasetId("ds_1"), "dataset_version": 1, "recipe": Recipe()}
    return UpdateOrder(**given | changes)


def a_job_with(order: Order, **changes: Any) -> Job:
    return a_job(MODEL, type=JobType.UPDATE, order=order, **changes)


def check(number: int, *jobs: Job, alias: Alias = LIVE) -> None:
    require_version_unused(LINE[number - 1], versions=LINE, aliases=[alias], unfinished=jobs)


def test_a_version_that_nothing_uses_may_go() -> None:
    check(4, a_job_with(update(parent=2)))
    check(5)


def test_a_root_goes_with_its_model() -> None:
    with pytest.raises(InUse, match="delete the model"):
        require_version_unused(LINE[0], versions=LINE[:1], aliases=[], unfinished=[])


def test_aliases_and_all_descendants_are_named() -> None:
    with pytest.raises(InUse) as told:
        check(2, alias=replace(LIVE, version=2))
    assert told.value.facts == {"aliases": ["production"], "descendants": [3, 5]}
    assert told.value.message == (
        "Version 2 cannot be deleted. Aliases that point at it: production. "
        "Versions that were trained from it: 3, 5."
    )


@pytest.mark.parametrize(
    "job",
    [
        a_job_with(update(parent=4)),
        a_job_with(update(), parent_version=4),
        a_job_with(update(), version=4),
        a_job_with(EvaluateOrder(version=4)),
        a_job_with(BlameOrder(version=4)),
        a_job_with(ExportOrder(version=4, format=ExportFormat.ONNX)),
        a_job_with(CompareIndexOrder(version=5, baseline=4)),
        a_job_with(ReembedOrder(version=4, dataset=DatasetId("ds_1"), dataset_version=1)),
    ],
    ids=[
        "ordered from it",
        "pinned to it",
        "has made it",
        "scores it",
        "blames it",
        "exports it",
        "compares with it",
        "embeds by it",
    ],
)
def test_an_unfinished_job_that_needs_the_version_is_named(job: Job) -> None:
    with pytest.raises(InUse) as told:
        check(4, job)
    assert told.value.facts == {"jobs": [job.id]}


def test_an_alias_is_kept_for_jobs_that_name_it() -> None:
    staging = replace(LIVE, name="staging")
    jobs = [a_job_with(update(alias="staging")), a_job_with(EvaluateOrder(version=2))]
    with pytest.raises(InUse) as told:
        require_alias_unused(staging, unfinished=jobs)
    assert told.value.facts == {"jobs": [jobs[0].id]}
    with pytest.raises(InUse):
        require_alias_unused(LIVE, unfinished=jobs)
    require_alias_unused(replace(LIVE, name="other"), unfinished=[*jobs, MADE])
