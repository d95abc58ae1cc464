import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError

from core.database import engine
from core.database.engine import Limits
from core.database.work import Transactions
from core.datasets.rows import Datasets
from core.errors import DatabaseUnavailable, NameTaken
from tests.support.factories import NOW, a_dataset


def test_commit_makes_it_last(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work.commit()
    with transactions(read_only=True) as work:
        assert work[Datasets].get(dataset.id) == dataset


@pytest.mark.parametrize("fault", [None, RuntimeError])
def test_leaving_without_commit_leaves_nothing(
    transactions: Transactions, fault: type[Exception] | None
) -> None:
    def leave() -> None:
        with transactions() as work:
            work[Datasets].add(a_dataset())
            if fault:
                raise fault

    if fault:
        with pytest.raises(fault):
            leave()
    else:
        leave()
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


def test_reader_does_not_wait_for_a_writer(transactions: Transactions) -> None:
    with transactions() as writer:
        writer[Datasets].add(a_dataset())
        began = time.monotonic()
        with transactions(read_only=True) as reader:
            assert reader[Datasets].page(10, None) == []
        assert time.monotonic() - began < 1


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


def test_time_without_zone_is_refused(transactions: Transactions) -> None:
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


def test_waiting_writer_gets_its_turn(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work.commit()
    numbers: list[int] = []

    def number() -> None:
        with transactions() as work:
            numbers.append(work[Datasets].next_version(dataset.id))
            work.commit()

    with transactions() as holder:
        numbers.append(holder[Datasets].next_version(dataset.id))
        waiting = threading.Thread(target=number)
        waiting.start()
        time.sleep(0.2)
        assert numbers == [1]
        holder.commit()
    waiting.join()
    assert numbers == [1, 2]


def test_database_that_is_not_there_says_unavailable() -> None:
    transactions = Transactions("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable), transactions():
        pass
    transactions.close()
