"""Dump of all rows of either kind of database.

A table's rows are JSON, one per line, in gzipped parts that a store keeps by their SHA-256. All
rows are read in one transaction, so that the dump is consistent.
"""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    Table,
    inspect,
    make_url,
    select,
    text,
)

from core.adapters.database.engine import READ_ONLY, Limits, open_engine, to_json
from core.adapters.database.migrate import METADATA, migration_config
from core.adapters.database.storage.artifact_roots import SqlArtifactRoots
from core.domain.values import Digest, Json
from core.errors import Conflict, NotFound
from core.ports import ArtifactRoots

PART_ROWS = 20_000
CHUNK = 500
# Heartbeats, as workers send new ones; the rows that the database adds for each job; sessions of
# browsers, which sign in again.
LEFT_OUT = frozenset({"beats", "job_metadata", "sessions"})
COPIED = [table for table in METADATA.sorted_tables if table.name not in LEFT_OUT]


class Snapshot:
    """A consistent view of the database, whatever is written meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.references: ArtifactRoots = SqlArtifactRoots(connection)

    def dump(self, put: Callable[[bytes], Digest]) -> Json:
        """Store all rows in parts; return the list of parts, which `fill` needs."""
        tables: dict[str, Json] = {}
        for table in COPIED:
            parts = [(len(rows), put(_pack(rows))) for rows in self._parts(table)]
            tables[table.name] = {
                "rows": sum(count for count, _ in parts),
                "parts": [digest for _, digest in parts],
            }
        return {"revision": _revision(self._connection), "tables": tables}

    def _parts(self, table: Table) -> Iterator[Sequence[Json]]:
        query = select(table).order_by(*table.primary_key).execution_options(yield_per=CHUNK)
        found = self._connection.execute(query).mappings()
        for rows in found.partitions(PART_ROWS):
            yield [{name: _to_json_value(value) for name, value in row.items()} for row in rows]


@contextmanager
def snapshot(url: str) -> Iterator[Snapshot]:
    """Open a snapshot. Raises NotFound or Conflict unless the schema is this release's."""
    where = make_url(url)
    if where.get_backend_name() == "sqlite" and not Path(where.database or "").exists():
        raise NotFound("There is no database yet: nothing to back up.")
    engine = open_engine(url, limits=Limits(statement_s=0, idle_s=0))
    try:
        with engine.connect() as opened:
            connection = opened.execution_options(**{READ_ONLY: True}, postgresql_readonly=True)
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                _require_newest(connection)
                yield Snapshot(connection)
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _require_newest(connection: Connection) -> None:
    newest = ScriptDirectory.from_config(migration_config(connection)).get_current_head()
    found = _revision(connection)
    if found is None:
        raise NotFound("The database has no tables yet: nothing to back up.")
    if found != newest:
        raise Conflict(
            f"The database has schema {found}, but this release needs {newest}: back up with the "
            "release that created it, or run `perennial migrate` first."
        )


def _pack(rows: Sequence[Json]) -> bytes:
    lines = "".join(f"{to_json(row)}\n" for row in rows)
    return gzip.compress(lines.encode(), mtime=0)  # without a time, equal rows give equal bytes


def _to_json_value(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
