"""A claim finds its job by an index, however many wait or have ended."""

from collections.abc import Callable

import pytest
from sqlalchemy import insert, text

from core.database.tables import jobs
from core.jobs.claim_rows import to_row
from core.jobs.claims import claimable_heads
from core.jobs.orders import Queue
from core.jobs.rules import JobStatus
from core.registry.versions import Model
from tests.support.factories import a_job
from tests.support.storage.databases import writing

ROWS = 4000

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


@pytest.mark.parametrize(
    ("models", "queued"),
    [(1, 1.0), (5, 0.004), (100, 1.0)],  # of so many models, the share that waits
)
def test_claim_never_reads_through_all_jobs(
    url: str, make_model: Callable[[], Model], models: int, queued: float
) -> None:
    made = [make_model() for _ in range(models)]
    ended = round(ROWS * (1 - queued))
    statuses = [JobStatus.SUCCEEDED] * ended + [JobStatus.QUEUED] * (ROWS - ended)
    rows = [a_job(made[n % models], status=status) for n, status in enumerate(statuses)]
    with writing(url) as connection:
        connection.execute(insert(jobs), [to_row(job) for job in rows])
        connection.execute(text("ANALYZE"))
        heads = claimable_heads(connection, tuple(Queue)).limit(1)
        statement = heads.compile(connection, compile_kwargs={"literal_binds": True})
        explained = text(EXPLAIN[connection.dialect.name] + str(statement))
        plan = "\n".join(str(row) for row in connection.execute(explained))
    assert "ix_jobs_heads" in plan
    assert "SCAN jobs" not in plan
    assert "SCAN others" not in plan
    assert "Seq Scan on jobs" not in plan
