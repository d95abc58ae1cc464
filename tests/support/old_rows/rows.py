"""Databases as each release left them, told by their schema's revision."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect

from core.database.engine import open_engine
from core.database.migrate import MIGRATIONS
from core.database.tables import reflect
from tests.support.old_rows.first_release import FIRST, Rows
from tests.support.old_rows.later_releases import ADDED


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """Yield a connection that commits at the end."""
    engine = open_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@cache
def revisions() -> tuple[str, ...]:
    """Return all revisions, oldest first."""
    walk = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return tuple(script.revision for script in reversed(list(walk)))


def rows_at(revision: str) -> Rows:
    """Return the rows of every table at a revision."""
    rows = {table: [dict(row) for row in some] for table, some in FIRST.items()}
    for added in (r for r in revisions() if r <= revision and r in ADDED):
        for table, (columns,) in ADDED[added].items():
            rows[table] = [row | columns for row in rows.get(table, [{}])]
    return rows


def write_rows(connection: Connection, revision: str) -> MetaData:
    """Write the rows of every table at a revision; return the tables."""
    rows, tables = rows_at(revision), reflect(connection)
    for table in tables.sorted_tables:
        numbered = {"position"} & set(table.primary_key.columns.keys())  # by the database
        for row in rows.get(table.name, []):
            assert row.keys() | numbered == {column.name for column in table.c}, table.name
            connection.execute(table.insert().values(row))
    return tables


def read_rows(connection: Connection) -> dict[str, list[str]]:
    """Return every row of every table, as text."""
    names = set(inspect(connection).get_table_names()) - {"alembic_version"}
    return {
        name: sorted(map(str, connection.exec_driver_sql(f'SELECT * FROM "{name}"')))
        for name in sorted(names)
    }
