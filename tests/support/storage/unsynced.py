"""SQLite that does not wait for the disk, as tests have PostgreSQL: no power fails here."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Dialect, Engine, event


class _Unsynced(sqlite3.Connection):
    """A connection whose commits are not synced, whatever is asked of it."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        asked = "PRAGMA synchronous = "
        return super().execute(f"{asked}OFF" if sql.startswith(asked) else sql, *parameters)


def _connect(
    dialect: Dialect, _entry: object, _arguments: list[Any], options: dict[str, Any]
) -> None:
    if dialect.name == "sqlite":
        options.setdefault("factory", _Unsynced)


def leave_unsynced() -> None:
    """Have every engine that this process opens from now on connect so."""
    event.listen(Engine, "do_connect", _connect)


@contextmanager
def synced() -> Iterator[None]:
    """Have engines connect as they do outside tests meanwhile."""
    event.remove(Engine, "do_connect", _connect)
    try:
        yield
    finally:
        leave_unsynced()
