"""Rows for the benchmarked service: jobs, versions and datasets as in a service in use."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from core.adapters.database.unit_of_work import SqlTransactions
from core.domain.datasets.dataset import Dataset, DatasetKind
from core.domain.gate.policy import Verdict
from core.domain.jobs.job import Job, Progress, model_of
from core.domain.jobs.order import JobType, UpdateOrder
from core.domain.recipes.prompt import DEFAULT_PROMPT
from core.domain.recipes.recipe import Recipe
from core.domain.registry.version import Version, VersionStatus
from core.domain.values import DatasetId, Digest, JobId, new_id, sha256
from core.ports import UnitOfWork

ENDED = datetime(2026, 3, 1, tzinfo=UTC)


def write_rows(url: str, model: str, count: int) -> JobId:
    """Write `count` succeeded updates of a model, each with its own dataset; return a job's id."""
    transactions = SqlTransactions(url)
    with transactions() as work:
        jobs = [_add_update(work, model, number) for number in range(count)]
        work.commit()
    transactions.close()
    return jobs[count // 2]


def _add_update(work: UnitOfWork, model: str, number: int) -> JobId:
    """Add the dataset, job and version of a succeeded update; return the job's id."""
    now = ENDED + timedelta(hours=number)
    found = work.models.get(model)
    dataset = Dataset(
        id=DatasetId(new_id("ds", now)),
        name=f"products-{number}",
        kind=DatasetKind.LABELLED,
        created_at=now,
    )
    work.datasets.add(dataset)
    version = work.versions.next_number(found.id)
    terms = {"loss": 0.61, "vr": 0.02, "accuracy": 0.93, "scale": 100.0, "images_per_second": 81.5}
    job = Job(
        id=JobId(new_id("job", now)),
        type=JobType.UPDATE,
        model=found.id,
        lane=found.id,
        order=UpdateOrder(dataset=dataset.id, dataset_version=1, recipe=Recipe()),
        progress=Progress(step=480, total=480, eta_s=0.0, terms=terms),
        parent_version=version - 1,
        attempt=1,
        version=version,
        metadata={"team": "shop"},
        created_at=now,
        started_at=now,
    )
    result = {"version": version, "report": _random_digest(), "verdict": "passed"}
    work.jobs.add(job.succeed(result, now + timedelta(minutes=5)))
    work.versions.add(_version(job, version, _names(number)))
    return job.id


def _version(job: Job, number: int, classes: Sequence[str]) -> Version:
    return Version(
        model=model_of(job),
        number=number,
        status=VersionStatus.PROMOTED,
        digest=_random_digest(),
        size=36_000_000,
        parent=job.parent_version,
        job=job.id,
        recipe=Recipe(),
        update_classes=tuple(classes[-5:]),
        classes=tuple(classes),
        prompt=DEFAULT_PROMPT,
        verdict=Verdict.PASSED,
        report=_random_digest(),
        environment={"python": "3.11.7", "torch": "2.9.0", "open_clip": "3.2.0"},
        created_at=job.created_at,
    )


def _names(number: int) -> list[str]:
    """Return the classes known after an update, of which each adds five."""
    return [f"class {index}" for index in range(5 * (number + 1))]


def _random_digest() -> Digest:
    return sha256(secrets.token_bytes(16))
