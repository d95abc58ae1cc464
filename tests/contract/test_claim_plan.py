from collections.abc import Callable

from sqlalchemy import insert, text

from core.adapters.database.claims import claimable_heads
from core.adapters.database.engine import open_engine
from core.adapters.database.job_rows import to_row
from core.adapters.database.tables.jobs import jobs
from core.domain.update import JobStatus
from core.domain.version import Model
from tests.factories import a_job


def test_claim_never_reads_through_all_jobs(url: str, make_model: Callable[[], Model]) -> None:
    models = [make_model() for _ in range(5)]
    # A long history and a short queue: where queued jobs are common, any index finds one soon.
    statuses = [JobStatus.SUCCEEDED] * 249 + [JobStatus.QUEUED]
    rows = [to_row(a_job(models[n % 5], status=statuses[n // 5 % 250])) for n in range(5000)]
    engine = open_engine(url)
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    query = claimable_heads().limit(1)
    with engine.begin() as connection:
        connection.execute(insert(jobs), rows)
        connection.execute(text("ANALYZE"))
        sql = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + str(sql)))
    engine.dispose()
    assert "ix_jobs_model_status_position" in plan
    assert "SCAN jobs" not in plan
    assert "SCAN others" not in plan
    assert "Seq Scan on jobs" not in plan
