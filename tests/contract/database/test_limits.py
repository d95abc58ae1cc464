"""What takes too long or is lost gives way; nothing is held while a job trains."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import pytest
from sqlalchemy import text

from core import bootstrap
from core.database import engine
from core.database.engine import Limits
from core.database.work import Transactions
from core.datasets.rows import Datasets
from core.errors import DatabaseUnavailable, StorageFull
from core.jobs.rows import Jobs
from core.jobs.rules import Monitor
from core.operations.rows import Gauges
from core.registry.versions import Model
from core.settings import Settings
from devtools.servers import run_sql
from tests.support.factories import a_dataset, a_job
from tests.support.processes import wait_for
from tests.support.scene import Scene

FOR_EVER = {
    "sqlite": "WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


@pytest.fixture
def hasty(url: str) -> Iterator[Transactions]:
    """Transactions that wait for next to nothing."""
    transactions = Transactions(url, limits=Limits(lock_s=0.2, statement_s=0.2))
    yield transactions
    transactions.close()


def test_a_statement_that_takes_too_long_is_ended_and_the_next_transaction_works(
    hasty: Transactions,
) -> None:
    statement = text(FOR_EVER[hasty._engine.dialect.name])
    with pytest.raises(DatabaseUnavailable), hasty() as work:
        work._connection.execute(statement)
    dataset = a_dataset()
    with hasty() as work:
        work[Datasets].add(dataset)
        work.commit()
    with hasty(read_only=True) as work:
        assert work[Datasets].page(9, None) == [dataset]


def test_who_finds_every_connection_taken_waits_a_moment_and_says_unavailable(
    hasty: Transactions,
) -> None:
    pool = hasty._engine.pool
    with ExitStack() as readers:
        for _ in range(pool.size() + pool._max_overflow):
            readers.enter_context(hasty(read_only=True))
        with pytest.raises(DatabaseUnavailable), hasty(read_only=True):
            pass
    with hasty(read_only=True) as work:
        assert work[Datasets].page(9, None) == []


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_connections_of_a_burst_are_kept_and_closed_by_the_server_once_unused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "UNUSED_S", 0.5)
    transactions = Transactions(url, limits=Limits(idle_s=0.1))
    with ExitStack() as burst:
        opened = [burst.enter_context(transactions(read_only=True)) for _ in range(12)]
        held = [work._connection.connection.dbapi_connection for work in opened]
    assert transactions._engine.pool.checkedin() == 12
    selector = DefaultSelector()
    for one in held:
        selector.register(one.fileno(), EVENT_READ)
    while selector.get_map():  # each is told why it is closed
        for key, _ in selector.select(timeout=20) or pytest.fail("not closed"):
            selector.unregister(key.fileobj)
    with transactions(read_only=True) as work:
        assert work[Datasets].page(9, None) == []
    transactions.close()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_reader_may_pause_as_long_as_a_writer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "UNUSED_S", 0.05)
    transactions = Transactions(url, limits=Limits(idle_s=60))
    with transactions(read_only=True) as work:
        limit = text("SHOW idle_session_timeout")
        assert work._connection.scalar(limit) == "1min"
    transactions.close()


def test_no_connection_is_held_while_a_job_trains_or_is_scored(
    transactions: Transactions,
) -> None:
    scene = Scene(transactions)
    model = scene.model()
    scene.suite(model, scene.frozen("hat", "bag", offset=100))
    scene.update(model, scene.frozen("cat", "dog"))
    held: list[int] = []

    def look(monitor: Monitor) -> None:
        monitor.advance("training", 1, 2)
        held.append(transactions._engine.pool.checkedout())

    scene.script.training = scene.script.evaluating = look
    assert scene.run().error is None
    assert held == [0] * 3  # training, then candidate and parent are asked


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_full_disk_says_so_and_recovers(url: str) -> None:
    transactions = Transactions(url)
    with transactions() as work:
        pages = work._connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        work._connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StorageFull):
            fill(work)
    with transactions() as work:
        assert work[Datasets].page(1, None) == []
        work._connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        fill(work)
        work.commit()
    transactions.close()


def fill(work: Any) -> None:
    for _ in range(200):
        work[Datasets].add(a_dataset(name="x" * 60 + a_dataset().name))


EVERYBODY = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = 'contract' AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_cut_connection_says_unavailable_and_the_next_transaction_works(
    url: str, server: str, transactions: Transactions
) -> None:
    dataset = a_dataset()

    def write_while_cut_off() -> None:
        with transactions() as work:
            work[Datasets].add(dataset)
            run_sql(server, "contract", EVERYBODY)
            work.commit()

    with pytest.raises(DatabaseUnavailable):
        write_while_cut_off()
    with transactions() as work:
        assert work[Datasets].page(9, None) == []
        work[Datasets].add(dataset)
        work.commit()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_connections_that_were_cut_while_nobody_used_them_are_replaced_unnoticed(
    server: str, transactions: Transactions
) -> None:
    with transactions() as one, transactions() as other:  # two connections for the pool
        assert one[Datasets].page(9, None) == other[Datasets].page(9, None) == []
    run_sql(server, "contract", EVERYBODY)
    for _ in range(3):
        with transactions() as work:
            assert work[Datasets].page(9, None) == []


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_who_falls_silent_within_a_claim_keeps_the_job_no_longer_than_a_lease(
    url: str, tmp_path: Path, make_model: Callable[[], Model]
) -> None:
    settings = Settings(home=tmp_path, database_url=url, lease_seconds=1)
    platform = bootstrap.build(settings)
    job = a_job(make_model())

    def claim() -> bool:
        with platform.transactions() as work:
            claimed = work[Jobs].claim("another", settings.lease_seconds, 3)
            work.commit()
        return claimed is not None

    with platform.transactions() as work:
        work[Jobs].add(job)
        work.commit()
    with platform.transactions() as silent:
        assert silent[Jobs].claim("silent", settings.lease_seconds, 3) is not None
        assert not claim()
        wait_for(claim, seconds=10)
        with pytest.raises(DatabaseUnavailable):
            silent.commit()
    with platform.transactions() as work:
        assert [row.owner for row in work[Gauges].running()] == ["another"]
    bootstrap.close(platform)


@pytest.mark.parametrize("where", ["sqlite:///{folder}", "postgresql://nobody@127.0.0.1:1/none"])
def test_a_database_that_cannot_be_opened_says_unavailable(tmp_path: Path, where: str) -> None:
    transactions = Transactions(where.format(folder=tmp_path))
    with pytest.raises(DatabaseUnavailable), transactions():
        pass
    transactions.close()
