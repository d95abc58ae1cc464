"""What takes too long gives way; nothing is held while a job trains."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from selectors import EVENT_READ, DefaultSelector

import pytest
from sqlalchemy import text

from core.database import engine
from core.database.engine import Limits
from core.database.work import Transactions
from core.datasets.rows import Datasets
from core.errors import DatabaseUnavailable
from core.jobs.rules import Monitor
from tests.support.factories import a_dataset
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


def test_who_waits_for_a_connection_gets_the_next_that_is_free(
    transactions: Transactions,
) -> None:
    pool, found = transactions._engine.pool, []

    def read() -> None:
        with transactions(read_only=True) as work:
            found.append(work[Datasets].page(9, None))

    with ExitStack() as readers:
        for _ in range(pool.size() + pool._max_overflow):
            readers.enter_context(transactions(read_only=True))
        waiting = threading.Thread(target=read)
        waiting.start()
        waiting.join(0.3)
        assert found == []
    waiting.join(10)
    assert found == [[]]


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
