"""Transactions, Idempotency-Keys, the durability of SQLite, and errors as logs show them."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from core.database import engine
from core.database.engine import Limits, open_engine
from core.database.idempotency import Idempotency, IdempotentReply
from core.database.work import Transactions
from core.datasets.rows import Datasets
from core.errors import DatabaseUnavailable, InProgress, NameTaken
from core.values import JobId
from tests.support.factories import NOW, a_dataset, digest


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
    with engine.connect() as connection:
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
