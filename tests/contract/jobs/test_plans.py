"""Claims, lists and deletions find jobs by an index, however many wait or have ended."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from core.database.tables import jobs
from core.jobs.claim_rows import to_row
from core.jobs.claims import claimable_heads
from core.jobs.orders import EvaluateOrder, JobType, Queue
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus
from core.registry.versions import Model
from tests.support.factories import NOW, a_job
from tests.support.storage.databases import writing
from tests.support.storage.query_plans import last_plan_of

ROWS, FEW = 4000, 10

RARE: Mapping[str, Any] = {
    "type": JobType.EVALUATE,
    "order": EvaluateOrder(version=1),
    "status": JobStatus.FAILED,
    "metadata": {"team": "few", "ticket": "7"},
}

USUAL: Mapping[str, Any] = {"status": JobStatus.SUCCEEDED, "metadata": {"team": "many"}}

EARLY = NOW + timedelta(minutes=FEW)


def store(connection: Connection, made: list[Job]) -> Callable[[], str]:
    """Store jobs and gather statistics; return what tells the plan of the last statement."""
    connection.execute(insert(jobs), [to_row(job) for job in made])
    connection.execute(text("ANALYZE"))
    return last_plan_of(connection)


@pytest.mark.parametrize(
    ("models", "queued"),
    [(1, 1.0), (5, 0.004), (5, 1.0), (100, 1.0)],  # of so many models, the share that waits
)
def test_claim_never_reads_through_all_jobs(
    url: str, make_model: Callable[[], Model], models: int, queued: float
) -> None:
    made = [make_model() for _ in range(models)]
    ended = round(ROWS * (1 - queued))
    statuses = [JobStatus.SUCCEEDED] * ended + [JobStatus.QUEUED] * (ROWS - ended)
    rows = [a_job(made[n % models], status=status) for n, status in enumerate(statuses)]
    with writing(url) as connection:
        last_plan = store(connection, rows)
        connection.execute(claimable_heads(connection, tuple(Queue)).limit(1))
        plan = last_plan()
    assert "ix_jobs_heads" in plan
    assert "SCAN jobs" not in plan
    assert "SCAN others" not in plan
    assert "Seq Scan on jobs" not in plan


def test_a_filtered_list_reads_no_other_jobs(url: str, make_model: Callable[[], Model]) -> None:
    often, seldom = make_model(), make_model()
    few = [a_job(seldom, **RARE, created_at=NOW + timedelta(minutes=n)) for n in range(FEW)]
    many = [a_job(often, **USUAL, created_at=NOW + timedelta(minutes=n)) for n in range(FEW, ROWS)]
    filters: Mapping[str, dict[str, Any]] = {
        "ix_jobs_model_position": {"model": seldom.id},
        "ix_jobs_type_position": {"job_type": JobType.EVALUATE},
        "ix_jobs_status": {"status": JobStatus.FAILED},
        "ix_jobs_created_at_position": {"since": NOW, "until": EARLY},
        "ix_job_metadata_key_value_job": {"metadata": ("team", "few")},
        "ix_job_metadata_key_job": {"metadata": ("ticket", None)},
    }
    newest_first = [job.id for job in reversed(few)]
    with writing(url) as connection:
        connection.execute(insert(jobs), [to_row(job) for job in few + many])
        last_plan = last_plan_of(connection)
        for index, wanted in filters.items():
            for skipped, after in enumerate([None, few[-1].id]):
                found = Jobs(connection).named_page(FEW, after, **wanted)
                assert [one.job.id for one in found] == newest_first[skipped:]
                plan = last_plan()
                assert index in plan, plan


def test_deleting_a_model_never_reads_all_jobs_for_each_of_its_jobs(
    url: str, make_model: Callable[[], Model]
) -> None:
    """Both databases ask for the retries of each job that is deleted."""
    model = make_model()
    with writing(url) as connection:
        last_plan = store(connection, [a_job(model, **USUAL) for _ in range(ROWS)])
        connection.execute(text("SELECT 1 FROM jobs WHERE retry_of = 'job_1'"))
        assert "ix_jobs_retry_of" in last_plan()
