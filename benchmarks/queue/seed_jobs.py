"""The rows of a growing queue, in several shapes."""

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import insert

from core.adapters.database.jobs.rows import to_row
from core.adapters.database.tables.jobs import jobs
from core.adapters.database.unit_of_work import SqlTransactions
from core.domain.gate.policy import GatePolicy
from core.domain.jobs.job import Job, JobStatus
from core.domain.jobs.order import ImportOrder, JobType
from core.domain.registry.version import Model
from core.domain.values import JobId, ModelId, PolicyId
from core.ports import UnitOfWork

FEW, MANY = 10, 100
# Shapes of the queue: number of models (0: one per ten jobs), and whether all jobs or just 10 wait.
SHAPES = {
    "all wait": (FEW, True),
    "all but 10 ended": (FEW, False),
    "all wait, 100 models": (MANY, True),
    "10 wait a model": (0, True),
}
NOW = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = GatePolicy(id=PolicyId("gate_1"), name="bench", created_at=NOW)


def fill(transactions: SqlTransactions, shape: str, size: int, known: list[Model]) -> None:
    """Replace the jobs by those that the shape has at this size, and add models as needed."""
    wanted, wait = SHAPES[shape]
    with transactions() as work:
        connection = work._connection
        assert connection is not None
        if not known:
            work.policies.add(POLICY)
        while len(known) < (wanted or max(1, size // 10)):
            known.append(_add_model(work, len(known)))
        sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("DELETE FROM jobs" if sqlite else "TRUNCATE jobs CASCADE")
        ended = 0 if wait else size - FEW
        connection.execute(insert(jobs), [to_row(job) for job in _imports(known, size, ended)])
        work.commit()
    with transactions() as work:
        assert work._connection is not None
        work._connection.exec_driver_sql("ANALYZE")
        work.commit()


def _add_model(work: UnitOfWork, number: int) -> Model:
    model = Model(
        id=ModelId(f"model_{number:06}"),
        name=f"model-{number}",
        suites=(),
        policy=POLICY.id,
        created_at=NOW,
    )
    work.models.add(model)
    return model


def _imports(models: list[Model], count: int, ended: int) -> Iterator[Job]:
    """Yield imports of each model in turn, the first `ended` of which have succeeded."""
    for number in range(count):
        model = models[number % len(models)].id
        yield Job(
            id=JobId(f"job_{number:06}"),
            type=JobType.IMPORT,
            model=model,
            lane=model,
            order=ImportOrder(base="bundled"),
            status=JobStatus.SUCCEEDED if number < ended else JobStatus.QUEUED,
            created_at=NOW,
        )
