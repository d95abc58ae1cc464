"""A claim looks heads up by an index, however many jobs wait or have ended."""

from collections.abc import Callable

import pytest
from sqlalchemy import insert, text

from core.database.engine import open_engine
from core.database.tables import jobs
from core.jobs.claim_rows import to_row
from core.jobs.claims import claimable_heads
from core.jobs.orders import Queue
from core.jobs.rules import JobStatus
from core.registry.versions import Model
from tests.support.factories import a_job

ROWS = 5000


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
    rows = [to_row(a_job(made[n % models], status=status)) for n, status in enumerate(statuses)]
    engine = open_engine(url)
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    with engine.begin() as connection:
        connection.execute(insert(jobs), rows)
        connection.execute(text("ANALYZE"))
        query = claimable_heads(connection, tuple(Queue)).limit(1)
        sql = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + str(sql)))
    engine.dispose()
    assert "ix_jobs_heads" in plan
    assert "SCAN jobs" not in plan
    assert "SCAN others" not in plan
    assert "Seq Scan on jobs" not in plan
