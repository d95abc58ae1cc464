"""The deletion of a job looks its retries up by an index, however many jobs there are."""

from collections.abc import Callable

from sqlalchemy import insert, text

from core.database.engine import open_engine
from core.database.tables import jobs
from core.jobs.claim_rows import to_row
from core.jobs.rules import JobStatus
from core.registry.versions import Model
from tests.support.factories import a_job

ROWS = 5000

# What both databases ask for each job that is deleted, since `retry_of` refers to jobs.
RETRIES = "SELECT 1 FROM jobs WHERE retry_of = 'job_1'"


def test_deleting_a_model_never_reads_all_jobs_for_each_of_its_jobs(
    url: str, make_model: Callable[[], Model]
) -> None:
    model = make_model()
    rows = [to_row(a_job(model, status=JobStatus.SUCCEEDED)) for _ in range(ROWS)]
    engine = open_engine(url)
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    with engine.begin() as connection:
        connection.execute(insert(jobs), rows)
        connection.execute(text("ANALYZE"))
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + RETRIES))
    engine.dispose()
    assert "ix_jobs_retry_of" in plan
