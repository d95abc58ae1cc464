"""Lists of jobs find the few that pass a filter by an index, however many came later."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import insert

from core.database.engine import open_engine
from core.database.tables import jobs
from core.jobs.claim_rows import to_row
from core.jobs.orders import EvaluateOrder, JobType
from core.jobs.rows import Jobs
from core.jobs.rules import JobStatus
from core.registry.versions import Model
from tests.support.factories import NOW, a_job
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
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(jobs), [to_row(job) for job in few + many])
        last_plan = last_plan_of(connection)
        newest_first = [job.id for job in reversed(few)]
        for index, wanted in filters.items():
            for skipped, after in enumerate([None, few[-1].id]):
                found = Jobs(connection).named_page(FEW, after, **wanted)
                assert [one.job.id for one in found] == newest_first[skipped:]
                plan = last_plan()
                assert index in plan, plan
    engine.dispose()
