"""Dumped rows, put into an empty database of either kind."""

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Table,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
)

from core.adapters.database.migrate import migrate, migrating, migration_config
from core.adapters.database.storage.dump import CHUNK, COPIED
from core.adapters.database.tables.schema import reflect
from core.domain.values import Digest, Json
from core.errors import Conflict, Corrupt

POSITION = "position"  # a row's number, which the database gives out in order of arrival


def require_fillable(url: str, revision: str) -> None:
    """Raise Conflict if `fill` would raise it."""
    with migrating(url) as connection:
        _require_known(connection, revision)
        _require_empty(connection)


def fill(url: str, listed: Json, get: Callable[[Digest], bytes]) -> None:
    """Fill an empty database with what `dump` stored, and upgrade it to the newest schema.

    Raises Conflict if the database holds rows or the dump is from a newer release, and Corrupt if
    the rows are inconsistent; then nothing has changed, except that there may be empty tables.
    """
    require_fillable(url, listed["revision"])
    migrate(url, listed["revision"])
    with migrating(url) as connection:
        tables = reflect(connection)
        if connection.dialect.name == "postgresql":  # SQLite has a single writer anyway
            locked = ", ".join(f'"{name}"' for name in tables.tables)
            connection.execute(text(f"LOCK TABLE {locked} IN EXCLUSIVE MODE"))
        _require_empty(connection)
        for table in tables.sorted_tables:  # referenced tables come first
            facts = listed["tables"].get(table.name, {"rows": 0, "parts": []})
            count = sum(_insert(connection, table, _unpack(get(part))) for part in facts["parts"])
            if count != facts["rows"]:
                raise Corrupt(f"{table.name}: restored {count} rows instead of {facts['rows']}.")
        for table in tables.sorted_tables:
            if table.primary_key.columns.keys() == [POSITION]:
                _advance_sequence(connection, table)
    migrate(url)


def _require_known(connection: Connection, revision: str) -> None:
    try:
        ScriptDirectory.from_config(migration_config(connection)).get_revision(revision)
    except CommandError:
        raise Conflict(
            f"The back-up has schema {revision}, which this release does not have: restore it "
            "with the release that made it."
        ) from None


def _require_empty(connection: Connection) -> None:
    there = set(inspect(connection).get_table_names())
    for table in COPIED:
        one = select(literal(1)).select_from(table).limit(1)
        if table.name in there and connection.scalar(one):
            raise Conflict(f"The database already has {table.name}: restore into an empty one.")


def _unpack(data: bytes) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in gzip.decompress(data).decode().split("\n") if line)


def _insert(connection: Connection, table: Table, rows: Iterator[dict[str, Any]]) -> int:
    """Insert rows in chunks, with times as this database stores them; return how many."""
    times = [column.name for column in table.columns if isinstance(column.type, DateTime)]
    for column in table.columns:
        if isinstance(column.type, JSON):
            column.type = JSON(none_as_null=True)
    count, chunk = 0, []
    for row in rows:
        for name in times:
            if row[name] is not None:
                time = datetime.fromisoformat(row[name])
                sqlite = connection.dialect.name == "sqlite"
                row[name] = time.replace(tzinfo=None) if sqlite else time
        chunk.append(row)
        count += 1
        if len(chunk) == CHUNK:
            connection.execute(insert(table), chunk)
            chunk = []
    if chunk:
        connection.execute(insert(table), chunk)
    return count


def _advance_sequence(connection: Connection, table: Table) -> None:
    """Set PostgreSQL's sequence to the last row number.

    The rows were inserted with their numbers, which does not advance the sequence.
    """
    if connection.dialect.name == "postgresql":
        last = select(func.max(table.c[POSITION])).scalar_subquery()
        counter = func.pg_get_serial_sequence(table.name, POSITION)
        connection.execute(select(func.setval(counter, func.coalesce(last, 1), last.is_not(None))))
