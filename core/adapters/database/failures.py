"""Translation of driver errors to the service's own."""

import sqlite3

import psycopg
from psycopg import errors as postgres
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from core.errors import DatabaseUnavailable, PerennialError, StorageFull

_PRIMARY = 0xFF  # SQLite's extended codes hold the primary one in their low byte
_SQLITE_LATER = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_INTERRUPT,  # a statement that exceeded its time limit
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


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
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return DatabaseUnavailable()
    if isinstance(error, postgres.IdleInTransactionSessionTimeout):
        return DatabaseUnavailable()
    return None
