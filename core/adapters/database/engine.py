"""Open a database: SQLite or PostgreSQL, each with the settings that keep rows safe."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url

from core.adapters.database.failures import name_failures

BUSY_SECONDS = 15
READ_ONLY = "read_only"  # execution option of a connection whose transactions only read

_POSTGRES_OPTIONS = (
    "-c timezone=UTC -c statement_timeout=30s -c lock_timeout=15s"
    " -c idle_in_transaction_session_timeout=120s"
)


def open_engine(url: str, *, foreign_keys: bool = True) -> Engine:
    """An engine for `url`; connects at first use.

    SQLite: write-ahead log, every commit synced, write transactions begin IMMEDIATE so that
    none has to upgrade a stale read. `foreign_keys=False` is for migrations, which rebuild
    tables there. PostgreSQL: statements and locks time out, dead connections are replaced.
    """
    where = make_url(url)
    if where.get_backend_name() == "sqlite":
        return _open_sqlite(where, foreign_keys)
    engine = create_engine(
        where.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
        pool_timeout=BUSY_SECONDS,
        connect_args={"options": _POSTGRES_OPTIONS, "connect_timeout": 5},
        json_serializer=to_json,
        hide_parameters=True,  # errors are logged; file names and texts are not
    )
    name_failures(engine)
    return engine


def _open_sqlite(where: URL, foreign_keys: bool) -> Engine:
    Path(where.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        where,
        pool_size=8,
        max_overflow=56,
        pool_timeout=BUSY_SECONDS,
        connect_args={"timeout": BUSY_SECONDS},
        json_serializer=to_json,
        hide_parameters=True,  # errors are logged; file names and texts are not
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: SqliteConnection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get(READ_ONLY):
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql("BEGIN")
        else:
            connection.exec_driver_sql("PRAGMA query_only = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    name_failures(engine)
    return engine


def to_json(value: object) -> str:
    """JSON that both databases take: a number that is not finite becomes null.

    An error's facts may be of any kind; recording them must not fail, so what JSON has no
    form for is told by its text.
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
