"""Dump and load the rows of a database."""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.database.engine import READ_ONLY, Limits, open_engine, to_json
from core.database.migrate import METADATA, migrate, migrating
from core.database.schema import REVISION, require_own, revision_of
from core.database.tables import reflect
from core.errors import Conflict, Corrupt, NotFound
from core.upkeep.rows import ArtifactRoots
from core.values import Digest, Json

# The dump of all rows of either kind of database.
#
# A table's rows are JSON, one per line, in gzipped parts that a store keeps by their SHA-256. All
# rows are read in one transaction, so that the dump is consistent.

PART_ROWS = 20_000
CHUNK = 500
# Heartbeats, as workers send new ones; the rows that the database adds for each job; sessions of
# browsers, which sign in again.
LEFT_OUT = frozenset({"beats", "job_metadata", "sessions"})
COPIED = [table for table in METADATA.sorted_tables if table.name not in LEFT_OUT]


class Snapshot:
    """A consistent view of the database, whatever is written meanwhile."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.references: ArtifactRoots = ArtifactRoots(connection)

    def dump(self, put: Callable[[bytes], Digest]) -> Json:
        """Store all rows in parts; return the list of parts, which `fill` needs."""
        tables: dict[str, Json] = {}
        for table in COPIED:
            parts = [(len(rows), put(_pack(rows))) for rows in self._parts(table)]
            tables[table.name] = {
                "rows": sum(count for count, _ in parts),
                "parts": [digest for _, digest in parts],
            }
        return {"revision": REVISION, "tables": tables}

    def _parts(self, table: sa.Table) -> Iterator[Sequence[Json]]:
        query = sa.select(table).order_by(*table.primary_key).execution_options(yield_per=CHUNK)
        found = self._connection.execute(query).mappings()
        for rows in found.partitions(PART_ROWS):
            yield [{name: _to_json_value(value) for name, value in row.items()} for row in rows]


@contextmanager
def snapshot(url: str) -> Iterator[Snapshot]:
    """Open a snapshot. Raises NotFound without tables, UnsafeConfiguration for another schema."""
    require_own(url)
    where = sa.make_url(url)
    if where.get_backend_name() == "sqlite" and not Path(where.database or "").exists():
        raise NotFound("There is no database yet: nothing to back up.")
    engine = open_engine(url, limits=Limits(statement_s=0, idle_s=0))
    try:
        with engine.connect() as opened:
            connection = opened.execution_options(**{READ_ONLY: True}, postgresql_readonly=True)
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                if revision_of(connection) is None:
                    raise NotFound("The database has no tables yet: nothing to back up.")
                yield Snapshot(connection)
    finally:
        engine.dispose()


def _pack(rows: Sequence[Json]) -> bytes:
    lines = "".join(f"{to_json(row)}\n" for row in rows)
    return gzip.compress(lines.encode(), mtime=0)  # without a time, equal rows give equal bytes


def _to_json_value(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


# The load of a dump into an empty database of either kind.

POSITION = "position"  # a row's number, which the database gives out in order of arrival


def require_fillable(url: str, revision: str) -> None:
    """Raise Conflict or UnsafeConfiguration if `fill` would raise it."""
    if revision != REVISION:
        raise Conflict(
            f"The back-up has schema {revision}, but this version of Perennial reads {REVISION}: "
            "restore it with the version that made it."
        )
    require_own(url)
    with migrating(url) as connection:
        _require_empty(connection)


def fill(url: str, listed: Json, get: Callable[[Digest], bytes]) -> None:
    """Fill an empty database with what `dump` stored.

    Raises Conflict if the database holds rows or the dump has another schema,
    UnsafeConfiguration if the database has, and Corrupt if the rows are inconsistent; then nothing
    has changed, except that there may be empty tables.
    """
    require_fillable(url, listed["revision"])
    migrate(url)
    with migrating(url) as connection:
        tables = reflect(connection)
        if connection.dialect.name == "postgresql":  # SQLite has a single writer anyway
            locked = ", ".join(f'"{name}"' for name in tables.tables)
            connection.execute(sa.text(f"LOCK TABLE {locked} IN EXCLUSIVE MODE"))
        _require_empty(connection)
        for table in tables.sorted_tables:  # referenced tables come first
            facts = listed["tables"].get(table.name, {"rows": 0, "parts": []})
            count = sum(_insert(connection, table, _unpack(get(part))) for part in facts["parts"])
            if count != facts["rows"]:
                raise Corrupt(f"{table.name}: restored {count} rows instead of {facts['rows']}.")
        for table in tables.sorted_tables:
            if table.primary_key.columns.keys() == [POSITION]:
                advance_sequence(connection, table)


def _require_empty(connection: sa.Connection) -> None:
    there = set(sa.inspect(connection).get_table_names())
    for table in COPIED:
        one = sa.select(sa.literal(1)).select_from(table).limit(1)
        if table.name in there and connection.scalar(one):
            raise Conflict(f"The database already has {table.name}: restore into an empty one.")


def _unpack(data: bytes) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in gzip.decompress(data).decode().split("\n") if line)


def _insert(connection: sa.Connection, table: sa.Table, rows: Iterator[dict[str, Any]]) -> int:
    """Insert rows in chunks, with times as this database stores them; return how many."""
    times = [column.name for column in table.columns if isinstance(column.type, sa.DateTime)]
    for column in table.columns:
        if isinstance(column.type, sa.JSON):
            column.type = sa.JSON(none_as_null=True)
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
            connection.execute(sa.insert(table), chunk)
            chunk = []
    if chunk:
        connection.execute(sa.insert(table), chunk)
    return count


def advance_sequence(connection: sa.Connection, table: sa.Table) -> None:
    """Set PostgreSQL's sequence to the last row number.

    The rows were inserted with their numbers, which does not advance the sequence.
    """
    if connection.dialect.name == "postgresql":
        last = sa.select(sa.func.max(table.c[POSITION])).scalar_subquery()
        counter = sa.func.pg_get_serial_sequence(table.name, POSITION)
        connection.execute(
            sa.select(sa.func.setval(counter, sa.func.coalesce(last, 1), last.is_not(None)))
        )
