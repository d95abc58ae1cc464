"""Transactions, Idempotency-Keys and errors; what takes too long or is lost gives way."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from core import bootstrap
from core.database import engine
from core.database.engine import Limits, open_engine
from core.database.idempotency import Idempotency, IdempotentReply
from core.database.work import Transactions
from core.datasets.rows import Datasets
from core.errors import DatabaseUnavailable, InProgress, NameTaken, StorageFull
from core.jobs.rows import Jobs
from core.jobs.rules import Monitor
from core.operations.rows import Gauges
from core.registry.versions import Model
from core.settings import Settings
from core.values import JobId
from devtools.servers import run_sql
from tests.support.factories import NOW, a_dataset, a_job, digest
from tests.support.processes import wait_for
from tests.support.scene import Scene
from tests.support.storage.unsynced import synced


@pytest.mark.parametrize("fault", [None, RuntimeError])
def test_leaving_without_commit_leaves_nothing(
    transactions: Transactions, fault: type[Exception] | None
) -> None:
    with suppress(RuntimeError), transactions() as work:
        work[Datasets].add(a_dataset())
        if fault:
            raise fault
    with transactions() as work:
        assert work[Datasets].page(10, None) == []


def test_taken_name_leaves_the_transaction_usable(transactions: Transactions) -> None:
    first, second = a_dataset(), a_dataset()
    with transactions() as work:
        work[Datasets].add(first)
        with pytest.raises(NameTaken):
            work[Datasets].add(replace(second, name=first.name))
        work[Datasets].add(second)
        work.commit()
    with transactions() as work:
        assert work[Datasets].page(10, None) == [first, second]


def test_reader_refuses_to_write_and_its_connection_can_write_later(
    transactions: Transactions,
) -> None:
    with transactions(read_only=True) as work, pytest.raises(DBAPIError):
        work[Datasets].add(a_dataset())
    with transactions() as work:
        work[Datasets].add(a_dataset())
        work.commit()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_reader_of_postgresql_leaves_no_transaction_open(transactions: Transactions) -> None:
    """It spares two round trips, and no concurrent build of an index waits for it."""
    with transactions(read_only=True) as reader:
        reader[Datasets].page(10, None)
        held = reader._connection.connection.dbapi_connection
        assert held.info.transaction_status == TransactionStatus.IDLE
    with transactions() as writer:
        writer[Datasets].page(10, None)
        held = writer._connection.connection.dbapi_connection
        assert held.info.transaction_status == TransactionStatus.INTRANS


def test_times_come_back_in_utc_to_the_microsecond(transactions: Transactions) -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    dataset = a_dataset(created_at=NOW.astimezone(zone))
    with transactions() as work:
        work[Datasets].add(dataset)
        found = work[Datasets].get(dataset.id).created_at
    assert found == NOW
    assert found.utcoffset() == timedelta(0)
    naive = a_dataset(created_at=datetime(2026, 1, 1))
    with transactions() as work, pytest.raises(Exception, match="zone"):
        work[Datasets].add(naive)


def test_waiting_too_long_for_a_writer_says_unavailable(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LIMITS", Limits(lock_s=0.2))
    transactions = Transactions(url)
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work.commit()
    with transactions() as holder:
        holder[Datasets].next_version(dataset.id)
        with pytest.raises(DatabaseUnavailable), transactions() as waiter:
            waiter[Datasets].next_version(dataset.id)
    transactions.close()


def test_an_error_names_no_parameter(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection, pytest.raises(SQLAlchemyError) as failed:
        connection.execute(text("insert into nowhere values (:name)"), {"name": "holiday.jpg"})
    engine.dispose()
    assert "nowhere" in str(failed.value)
    assert "holiday" not in str(failed.value)


def test_sqlite_syncs_each_commit_and_readers_do_not_stop_a_writer(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with synced(), engine.connect() as connection:
        told = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    engine.dispose()
    full = 2
    assert told == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "secure_delete": 1,
    }


def test_sqlite_writers_wait_at_their_beginning(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}", limits=Limits(lock_s=0.05))
    with engine.begin(), pytest.raises(DatabaseUnavailable), engine.begin():
        pass  # neither has written anything
    engine.dispose()


REPLY = IdempotentReply(
    actor="admin", key="abc", body=digest("body"), job=JobId("job_1"), created_at=NOW
)


def test_one_of_many_requests_at_once_gets_the_key(transactions: Transactions) -> None:
    def ask(number: int) -> bool:
        try:
            with transactions() as work:
                work[Idempotency].add(replace(REPLY, job=JobId(f"job_{number}")))
                time.sleep(0.05)  # the others come while this one is in flight
                work.commit()
        except InProgress:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(6))) == 1


def test_sqlite_waits_for_whoever_creates_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    engine = open_engine(f"sqlite:///{path}")
    first = sqlite3.connect(path, isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor() as threads:
        second = threads.submit(engine.connect)
        time.sleep(0.1)  # without a wait, it is refused within this time
        first.rollback()
        first.close()
        with second.result() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    engine.dispose()


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
    pool: Any = hasty._engine.pool
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
    pool: Any = transactions._engine.pool
    assert pool.checkedin() == 12
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
    pool: Any = transactions._engine.pool

    def look(monitor: Monitor) -> None:
        monitor.advance("training", 1, 2)
        held.append(pool.checkedout())

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


def test_sqlite_tells_without_a_query_that_something_was_committed(
    transactions: Transactions, url: str
) -> None:
    other = Transactions(url)
    seen = [transactions.commits.state(), transactions.commits.state()]
    with other() as work:
        work[Datasets].add(a_dataset())
        seen.append(transactions.commits.state())  # before it is committed
        work.commit()
    seen += [transactions.commits.state(), transactions.commits.state()]
    other.close()
    if url.startswith("sqlite"):
        assert None not in seen
        assert len(set(seen[:3])) == len(set(seen[3:])) == 1
        assert seen[2] != seen[3]
    else:
        assert seen == [None] * 5
    transactions.commits.close()
    assert transactions.commits.state() is None


def test_a_database_that_is_not_there_is_not_made_by_asking_for_its_state(tmp_path: Path) -> None:
    transactions = Transactions(f"sqlite:///{tmp_path / 'absent.db'}")
    assert transactions.commits.state() is None
    transactions.close()
    assert not list(tmp_path.iterdir())
