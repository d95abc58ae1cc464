"""Migrations of a database that others read and write meanwhile."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import Connection, Engine, event, text

from core.database import migrate as schema
from core.database.engine import Limits, open_engine
from core.database.migrate import migrate, revert
from core.errors import DatabaseUnavailable
from tests.support.old_rows.rows import revisions, write_rows
from tests.support.processes import wait_for

FIRST = revisions()[0]

PAUSE_S = 0.01  # between transactions: a migration takes longer, and would wait for the GIL

PATIENT = Limits(lock_s=20)  # of the traffic: what a migration must never make it wait

# What the first release reads and writes, and every later one can.
ORDER_JOB = text(
    """INSERT INTO jobs (id, type, model, "order", status, phase, progress, attempt, lost, fence,
    metadata, events, created_at) VALUES (:id, 'update', 'model_1', '{}', 'queued', 'queued', '{}',
    0, 0, 0, '{}', 0, '2026-01-01 00:00:00')"""
)

RENEW_LEASE = text("UPDATE jobs SET lease_until = 1.0, phase = 'training' WHERE id = :id")

JUDGE = text("UPDATE versions SET status = status, verdict = 'passed' WHERE number = 1")

LOOK = text("SELECT count(*), (SELECT count(*) FROM versions) FROM jobs WHERE status = 'queued'")

ON_POSTGRESQL = pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """Connections of the traffic, to a database of the first release with rows in each table."""
    migrate(empty_url, FIRST)
    engine = open_engine(empty_url, limits=PATIENT)
    with engine.begin() as connection:
        write_rows(connection, FIRST)
    yield engine
    engine.dispose()


@contextmanager
def traffic(engine: Engine) -> Iterator[Callable[[], int]]:
    """Two writers and a reader; how many transactions they have done. Fails if one failed."""
    stop, done, failed = threading.Event(), [0, 0, 0], []

    def go(which: int, act: Callable[[Connection, int], object]) -> None:
        while not stop.wait(PAUSE_S):
            try:
                with engine.begin() as connection:
                    act(connection, done[which])
                done[which] += 1
            except Exception as error:  # noqa: BLE001 - told at the end
                failed.append(error)
                return

    def write(connection: Connection, number: int) -> None:
        connection.execute(ORDER_JOB, {"id": f"new_{number}"})
        connection.execute(RENEW_LEASE, {"id": f"new_{number}"})
        connection.execute(JUDGE)

    def judge(connection: Connection, _number: int) -> None:
        connection.execute(JUDGE)
        connection.execute(RENEW_LEASE, {"id": "job_1"})

    def read(connection: Connection, _number: int) -> None:
        connection.execute(LOOK).one()

    threads = [
        threading.Thread(target=go, args=(which, act))
        for which, act in enumerate((write, judge, read))
    ]
    with ExitStack() as stack:
        stack.callback(lambda: [thread.join() for thread in threads])
        stack.callback(stop.set)
        for thread in threads:
            thread.start()
        yield lambda: min(done)
    assert failed == []


def test_others_read_and_write_while_each_migration_runs(empty_url: str, engine: Engine) -> None:
    later = revisions()[1:]
    with traffic(engine) as done:
        for revision in (*later, *reversed(revisions()[:-1])):
            before = done()
            if revision > current(engine):
                migrate(empty_url, revision)
            else:
                revert(empty_url, revision)
            wait_for(lambda before=before: done() > before, seconds=60)
    assert current(engine) == FIRST


@ON_POSTGRESQL
def test_nobody_waits_behind_a_migration_that_waits(empty_url: str, engine: Engine) -> None:
    migrating = threading.Thread(target=migrate, args=(empty_url,))
    with engine.connect() as reader:  # as a back-up does, for hours
        reader.execute(LOOK).one()
        migrating.start()
        for number in range(3):
            wait_for(lambda: waiting(engine), seconds=60, every=0.01)
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '10s'"))
                connection.execute(ORDER_JOB, {"id": f"new_{number}"})
        assert migrating.is_alive()
        assert current(engine) == FIRST
    migrating.join(120)
    assert current(engine) == revisions()[-1]


@ON_POSTGRESQL
def test_a_lock_that_is_never_free_ends_in_an_error_and_the_next_call_goes_on(
    empty_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "PATIENCE_S", 1.0)
    monkeypatch.setattr(schema, "LOCK_S", 0.1)
    monkeypatch.setattr(schema, "TRY_AGAIN_AFTER_S", 0.1)
    with engine.connect() as reader:
        reader.execute(text("SELECT 1 FROM versions"))  # which the second revision changes, too
        with pytest.raises(DatabaseUnavailable):
            migrate(empty_url)
    assert current(engine) == FIRST
    migrate(empty_url)
    assert current(engine) == revisions()[-1]


FEW = {"keys"}  # a service has a handful, and 0013 locks none of them


@ON_POSTGRESQL
def test_no_migration_rewrites_or_reads_through_a_table(empty_url: str, engine: Engine) -> None:
    """While it holds a lock that keeps others waiting: neither takes longer on more rows."""
    read_through: list[str] = []
    seen: dict[str, int] = {}

    def begin(connection: Connection) -> None:
        seen.clear()
        seen.update(rows_read(connection))

    def commit(connection: Connection) -> None:
        if not connection.connection.dbapi_connection.autocommit:  # so indexes are built
            now = rows_read(connection)
            read_through.extend(name for name in now if now[name] > seen.get(name, 0))

    event.listen(Engine, "begin", begin)
    event.listen(Engine, "commit", commit)
    try:
        for step in (migrate, *[revert] * len(revisions()[1:])):
            before = files(engine)
            step(empty_url, "head" if step is migrate else "-1")
            after = files(engine)
            assert {name: after[name] for name in before if name in after} == {
                name: before[name] for name in after if name in before
            }
    finally:
        event.remove(Engine, "begin", begin)
        event.remove(Engine, "commit", commit)
    assert current(engine) == FIRST
    assert set(read_through) <= FEW


@ON_POSTGRESQL
def test_an_index_left_half_built_is_built_again(empty_url: str, engine: Engine) -> None:
    migrate(empty_url, "0005")
    with engine.begin() as connection:
        connection.execute(BREAK_INDEX)
        connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))
    migrate(empty_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")) == 0


BREAK_INDEX = text(
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_jobs_heads'::regclass"
)


def rows_read(connection: Connection) -> dict[str, int]:
    """How many rows of each table this connection has read without an index."""
    query = text(
        "SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables"
        " WHERE relname <> 'alembic_version'"
    )
    return {row.relname: row.seq_tup_read for row in connection.execute(query)}


def files(engine: Engine) -> dict[str, int]:
    """Which file each table lies in: another one once it was rewritten."""
    query = text(
        "SELECT relname, relfilenode FROM pg_stat_user_tables JOIN pg_class USING (relname)"
    )
    with engine.connect() as connection:
        return {row.relname: row.relfilenode for row in connection.execute(query)}


def waiting(engine: Engine) -> bool:
    """Whether somebody waits for a table's lock."""
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'")
    with engine.connect() as connection:
        return bool(connection.scalar(query))


def current(engine: Engine) -> str:
    """The revision of the schema."""
    with engine.connect() as connection:
        found: str = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
