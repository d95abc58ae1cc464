"""Statements that the rows of several rooms share."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    case,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

# Rooms cache what they parse from stored recipes and orders, whose text never changes: parsing is
# half of the time of reading a page of jobs or versions. The values are frozen and can be shared.
# Long texts (a recipe may list 100,000 sentences) are parsed each time.
KEPT, LONGEST = 1024, 8192  # texts of each kind, and characters of one: about 20 MB in all

# Both databases limit the parameters of one statement (SQLite 32,766, PostgreSQL 65,535).
CHUNK = 1000
INSERTED = 10_000  # rows of a statement, whose time is limited

Values = Mapping[str, Any]
_Value = TypeVar("_Value")


def insert_new(connection: Connection, table: Table, values: Values) -> bool:
    """Insert a row unless one with the same key exists; return whether it was inserted.

    Waits for another transaction that is inserting the same key and, unlike a violated constraint,
    leaves the current transaction usable.
    """
    return bool(insert_absent(connection, table, [values]))


def insert_missing(connection: Connection, table: Table, rows: Iterable[Values]) -> None:
    """Insert the rows whose keys do not exist yet.

    Many are inserted by several statements, so that none takes longer than a statement may. Of an
    iterator, only the rows of one statement are in memory.
    """
    statement, rest = _insert(connection, table).on_conflict_do_nothing(), iter(rows)
    while some := list(islice(rest, INSERTED)):
        connection.execute(statement, some)


def insert_absent(
    connection: Connection, table: Table, rows: Sequence[Values]
) -> Sequence[tuple[Any, ...]]:
    """Insert the rows whose keys do not exist yet; return their keys.

    Like `insert_new`, it waits for another transaction that is inserting one of them.
    """
    if not rows:
        return []
    statement = _insert(connection, table).on_conflict_do_nothing()
    inserted = connection.execute(statement.returning(*table.primary_key), rows)
    return [tuple(row) for row in inserted]


def upsert(
    connection: Connection,
    table: Table,
    values: Values,
    changes: Values | None = None,
    *,
    where: ColumnElement[bool] | None = None,
) -> None:
    """Insert a row, or write `changes` to the one with the same key, if it is as `where` says.

    Without `changes`, what is written is all the values.
    """
    key = table.primary_key.columns
    if changes is None:
        changes = {name: value for name, value in values.items() if name not in key}
    insert = _insert(connection, table).values(values)
    connection.execute(
        insert.on_conflict_do_update(index_elements=list(key), set_=changes, where=where)
    )


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def find_named(
    connection: Connection, table: Table, reference: str, *, lock: bool = False
) -> Row[Any] | None:
    """Return the row with this id, or else the one with this name.

    `lock` keeps others from changing it until commit.
    """
    # SQLite's write transactions run one at a time anyway.
    query = _named(table).with_for_update(key_share=True) if lock else _named(table)
    return connection.execute(query, {"reference": reference}).first()


# Building a statement takes longer than running it.
@cache
def _named(table: Table) -> Select[Any]:
    reference: BindParameter[str] = bindparam("reference")
    return (
        select(table)
        .where(or_(table.c.id == reference, table.c.name == reference))
        .order_by(case((table.c.id == reference, 0), else_=1))
        .limit(1)
    )


def page_by_id(
    connection: Connection,
    table: Table,
    limit: int,
    after: str | None,
    only: Collection[str] | None = None,
) -> Sequence[Row[Any]]:
    """Return a page of rows, oldest first; `after` is the last id of the previous page.

    With `only`, rows with other ids are left out.
    """
    query = _page(table)
    if only is not None:
        query = query.where(table.c.id.in_(only))
    return connection.execute(query, {"limit": limit, "after": after or ""}).all()


@cache
def _page(table: Table) -> Select[Any]:
    later = table.c.id > bindparam("after")
    return select(table).where(later).order_by(table.c.id).limit(bindparam("limit"))


def names_of(connection: Connection, table: Table, ids: Collection[str]) -> dict[str, str]:
    """Return the names of the rows with these ids."""
    found: dict[str, str] = {}
    for chunk in chunks(ids):
        rows = connection.execute(_names(table), {"ids": chunk})
        found.update((row.id, row.name) for row in rows)
    return found


@cache
def _names(table: Table) -> Select[Any]:
    return select(table.c.id, table.c.name).where(table.c.id.in_(bindparam("ids", expanding=True)))


def rows_with(
    connection: Connection, query: Select[Any], column: Column[Any], values: Collection[Any]
) -> Iterator[Row[Any]]:
    """Yield the rows of a query whose column has one of some values, however many these are."""
    for chunk in chunks(values):
        yield from connection.execute(query.where(column.in_(chunk)))


def chunks(values: Collection[_Value]) -> Iterator[list[_Value]]:
    """Yield the values in lists of at most CHUNK."""
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
