"""SQLAlchemy engines for SQLite and PostgreSQL, with settings that keep rows safe."""

import json
import math
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

import psycopg
from psycopg import Connection as PostgresConnection
from psycopg import errors as postgres
from pydantic_core import from_json
from sqlalchemy import URL, Connection, Engine, Float, create_engine, event, make_url, select
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from core.errors import DatabaseUnavailable, PerennialError, StorageFull

READ_ONLY = "read_only"  # execution option of a connection whose transactions only read


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Time limits of a connection, in seconds; 0 means no limit.

    Exceeding a limit raises DatabaseUnavailable, which a client receives as 503.
    """

    lock_s: float = 15.0  # wait for a lock of another transaction, or for a free connection
    statement_s: float = 30.0
    idle_s: float = 120.0  # a transaction without a statement; PostgreSQL only


LIMITS = Limits()
UNUSED_S = 60.0  # then PostgreSQL closes a connection of a pool, or later if `idle_s` is greater


def open_engine(url: str, *, migrates: bool = False, limits: Limits | None = None) -> Engine:
    """Return an engine for `url`, which connects at first use.

    SQLite: write-ahead log, every commit synced, what is deleted is overwritten with zeros, and
    write transactions begin IMMEDIATE so that none has to upgrade a stale read. PostgreSQL: dead
    connections are replaced, those without a statement for UNUSED_S closed, and a statement outside
    transactions only reads. An engine that `migrates` checks no foreign keys on SQLite, where it
    rebuilds tables, and writes outside transactions on PostgreSQL. Without `limits`, LIMITS apply.
    """
    where, limits = make_url(url), limits or LIMITS
    if where.get_backend_name() == "sqlite":
        return _open_sqlite(where, limits, foreign_keys=not migrates)
    options = _postgres_options(limits, migrates=migrates)
    engine = create_engine(
        where.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=32,
        max_overflow=0,  # what exceeds the size is closed at once, and opened again
        pool_use_lifo=True,  # so that what a burst has opened is unused after it
        pool_timeout=limits.lock_s,
        connect_args={"options": options, "connect_timeout": 5},
        json_serializer=to_json,
        json_deserializer=from_json,
        hide_parameters=True,  # errors are logged; file names and texts are not
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: PostgresConnection, _entry: ConnectionPoolEntry) -> None:
        connection.read_only = False  # its transactions begin with READ WRITE

    translate_failures(engine)
    return engine


def begin_reading(connection: Connection) -> None:
    """Begin a transaction that only reads, and never waits for a writer.

    On PostgreSQL each statement is one of its own: in a common one it would see what is committed
    by then all the same, and BEGIN and ROLLBACK would be two more round trips.
    """
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="AUTOCOMMIT")
    else:
        connection.execution_options(**{READ_ONLY: True})
    connection.begin()


def _postgres_options(limits: Limits, *, migrates: bool) -> str:
    unused_s = 0 if migrates or not limits.idle_s else max(UNUSED_S, limits.idle_s)
    options = {
        "default_transaction_read_only": "off" if migrates else "on",
        # Migrations exclude each other by a lock of a session. For what reads, whose statements
        # share no transaction, this is the limit between two statements.
        "idle_session_timeout": f"{unused_s * 1000:.0f}ms",
        "timezone": "UTC",
        "jit": "off",  # compiling would take longer than any of our statements
        "lock_timeout": f"{limits.lock_s * 1000:.0f}ms",
        "statement_timeout": f"{limits.statement_s * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": f"{limits.idle_s * 1000:.0f}ms",
    }
    return " ".join(f"-c {name}={value}" for name, value in options.items())


def _open_sqlite(where: URL, limits: Limits, *, foreign_keys: bool) -> Engine:
    Path(where.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        where,
        pool_size=8,
        max_overflow=56,
        pool_timeout=limits.lock_s,
        connect_args={"timeout": limits.lock_s},
        json_serializer=to_json,
        json_deserializer=from_json,
        hide_parameters=True,  # errors are logged; file names and texts are not
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: SqliteConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # keeps the driver from beginning transactions itself
        _use_write_ahead_log(connection, limits.lock_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        pooled = connection.connection
        read_only = bool(connection.get_execution_options().get(READ_ONLY))
        if pooled.info.get(READ_ONLY) is not read_only:
            pooled.info[READ_ONLY] = None  # unknown if the next line fails
            connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
            pooled.info[READ_ONLY] = read_only
        if read_only:  # never waits and cannot fail, so it goes straight to the driver
            pooled.cursor().execute("BEGIN")
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    if limits.statement_s:
        _end_long_statements(engine, limits.statement_s)
    translate_failures(engine)
    return engine


def _use_write_ahead_log(connection: SqliteConnection, limit_s: float) -> None:
    """Switch a database to the write-ahead log, unless it has one.

    SQLite does not wait for a process that is creating the same file, but refuses at once.
    """
    end = time.monotonic() + limit_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if time.monotonic() > end or error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(0.02)
        else:
            return


def _end_long_statements(engine: Engine, limit_s: float) -> None:
    """Interrupt statements that run for longer than `limit_s` seconds.

    SQLite has no statement timeout, but a handler that it calls at intervals and that can stop it.
    """
    deadline, steps = "deadline", 100_000  # instructions of SQLite between two calls, about 1 ms

    @event.listens_for(engine, "connect")
    def watch(connection: SqliteConnection, entry: ConnectionPoolEntry) -> None:
        def late() -> bool:
            return bool(time.monotonic() > entry.info.get(deadline, math.inf))

        connection.set_progress_handler(late, steps)

    @event.listens_for(engine, "before_cursor_execute")
    def begin(connection: Connection, *_statement: object) -> None:
        connection.connection.info[deadline] = time.monotonic() + limit_s

    @event.listens_for(engine, "after_cursor_execute")
    def end(connection: Connection, *_statement: object) -> None:
        connection.connection.info.pop(deadline, None)  # reading the rows is not limited


def to_json(value: object) -> str:
    """Return JSON that both databases accept, with null for numbers that are not finite.

    An error's facts may be of any type, and recording them must not fail: values that JSON cannot
    represent are written as their `str`.
    """
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str() | int() | None:
            return value
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case set() | frozenset():
            return sorted(_plain(item) for item in value)
        case _:
            return str(value)


# Commits to SQLite, noticed without a query.


class Commits:
    """Tells apart the states of a SQLite database, in a few microseconds and without any wait."""

    def __init__(self, url: str) -> None:
        where = make_url(url)
        path = where.database if where.get_backend_name() == "sqlite" else None
        self._file = Path(path).absolute() if path else None
        self._connection: SqliteConnection | None = None

    def state(self) -> int | None:
        """Return a number, which another one has followed since if anything was committed.

        None if the database cannot tell: PostgreSQL, and SQLite while it is not there or busy.
        """
        if self._file is None:
            return None
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    f"{self._file.as_uri()}?mode=rw",
                    uri=True,
                    timeout=0,
                    isolation_level=None,
                    check_same_thread=False,  # another one closes it
                )
            row = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None
        return int(row[0])

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


# The database's clock, which times leases and heartbeats.


class epoch_now(GenericFunction[float]):  # noqa: N801 - named as SQLAlchemy names functions
    """Seconds since 1970 by the database's clock, with a fraction."""

    type = Float(53)
    inherit_cache = True


@compiles(epoch_now, "sqlite")
def _sqlite(_function: epoch_now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(epoch_now, "postgresql")
def _postgresql(_function: epoch_now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def read_clock(connection: Connection) -> datetime:
    """Return the time by the database's clock."""
    return datetime.fromtimestamp(connection.execute(select(epoch_now())).scalar_one(), UTC)


# Errors of drivers, translated to the service's own.

_PRIMARY = 0xFF  # SQLite's extended codes hold the primary one in their low byte
_SQLITE_LATER = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_INTERRUPT,  # a statement that exceeded its time limit
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}

_POSTGRES_LATER = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    postgres.IdleInTransactionSessionTimeout,
)


def translate_failures(engine: Engine) -> None:
    """Make the engine raise DatabaseUnavailable or StorageFull for matching driver errors."""

    @event.listens_for(engine, "handle_error")
    def translate(context: ExceptionContext) -> PerennialError | None:
        if context.is_pre_ping:  # the pool needs the driver's own error to reconnect
            return None
        return _translated(context.original_exception)


def _translated(error: BaseException) -> PerennialError | None:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        if code == sqlite3.SQLITE_FULL:
            return StorageFull()
        return DatabaseUnavailable() if code in _SQLITE_LATER else None
    if isinstance(error, postgres.DiskFull):
        return StorageFull()
    return DatabaseUnavailable() if isinstance(error, _POSTGRES_LATER) else None
