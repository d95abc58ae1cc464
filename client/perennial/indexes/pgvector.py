"""Vectors in PostgreSQL with pgvector: a table for each version, and a view that is searched."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from perennial.indexes.store import EF_SEARCH, Hit, IndexFailure, Item, Live, Vector

CONNECT_S = 10
WAIT = "2s"  # for a lock of the view, behind which searches would wait as well
TRIES = 30  # of a switch, each as long as that
FILLER_WAIT = "60s"  # for another filler; one that was killed is noticed within that
LONGEST_NAME = 48  # PostgreSQL cuts names of tables and indexes at 63, and ours are longer by 15
AT_ONCE = 5000  # rows that are read at a time
MOST_CANDIDATES = 1000  # that pgvector allows


class PgVectorStore:
    """An index in a schema of a database: `shop`, `shop_index`, `shop_v1`, `shop_v2` ...

    The view `shop` has the columns id, texts, vector, version and digest; `shop_index` has one row,
    with the version and digest that the view shows.
    """

    def __init__(self, url: str, name: str, *, ef_search: int = EF_SEARCH) -> None:
        """Connect to a database by a URL or, as psycopg takes it, a list of parameters.

        A password that is not there is taken from PGPASSWORD or `.pgpass`. Raises IndexFailure.
        """
        if len(name) > LONGEST_NAME:
            raise IndexFailure(
                f"The name of an index in PostgreSQL has at most {LONGEST_NAME} characters, as its "
                f"tables are named after it, and {name} has {len(name)}."
            )
        self._name = name
        self._marked = ""
        self._ef_search = ef_search
        self._candidates = 0  # as the session has it
        try:
            conninfo_to_dict(url)
        except psycopg.Error:  # whose text would repeat the URL, and so a password in it
            raise IndexFailure("This is no address of PostgreSQL: write postgresql://...") from None
        with _failures("connect to PostgreSQL"):
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S)
        try:
            with _failures("use pgvector"):
                if not self._one("SELECT 1 FROM pg_extension WHERE extname = 'vector'"):
                    self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                register_vector(self._connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def claim(self, index: str) -> None:
        """Make the tables, and lock them for this filler. Raises IndexFailure."""
        with _failures("claim the index"):
            self._lock()
            with self._connection.transaction():
                self._run(
                    "CREATE TABLE IF NOT EXISTS {} (only_row boolean PRIMARY KEY DEFAULT true "
                    "CHECK (only_row), index text NOT NULL, version int, digest text, side int)",
                    self._table("index"),
                )
                self._run(
                    "INSERT INTO {} (index) VALUES (%s) ON CONFLICT DO NOTHING",
                    self._table("index"),
                    values=(index,),
                )
            (owner,) = self._run("SELECT index FROM {}", self._table("index"))[0]
        if owner != index:
            self.release()
            raise IndexFailure(
                f"The table {self._name}_index belongs to another index ({owner}): choose another "
                "database or schema, or drop that one's tables."
            )
        self._marked = index

    def _lock(self) -> None:
        try:
            with self._connection.transaction():
                self._connection.execute(f"SET LOCAL lock_timeout = '{FILLER_WAIT}'")
                self._connection.execute(
                    "SELECT pg_advisory_lock(hashtextextended(%s, 0))", self._key
                )
        except psycopg.errors.LockNotAvailable as error:
            raise IndexFailure("Another process is filling this index.") from error

    def release(self) -> None:
        """Let others fill the index."""
        with suppress(psycopg.Error):  # a connection that has broken holds no lock
            unlock = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"
            self._connection.execute(unlock, self._key)

    @property
    def _key(self) -> tuple[str]:
        schema = self._one("SELECT current_schema()")
        return (f"perennial {schema}.{self._name}",)

    # What is searched.

    def live(self) -> Live | None:
        """Return what the view shows."""
        with _failures("read the index"):
            if not self._one("SELECT to_regclass(%s)", _quoted(f"{self._name}_index")):
                return None
            rows = self._run("SELECT version, digest, side FROM {}", self._table("index"))
        if not rows or rows[0][0] is None:
            return None
        version, digest, side = rows[0]
        return Live(version=version, digest=digest, side=side)

    def switch(self, live: Live) -> None:
        """Show another table, its version and digest, in one transaction.

        Searches that run are waited for, shortly and again, so that none waits behind the switch.
        """
        shown = sql.SQL(
            "CREATE OR REPLACE VIEW {} AS "
            "SELECT id, texts, vector, {}::int AS version, {}::text AS digest FROM {}"
        ).format(
            self._view, sql.Literal(live.version), sql.Literal(live.digest), self._side(live.side)
        )
        for _ in range(TRIES):
            with (
                _failures("switch the index"),
                suppress(psycopg.errors.LockNotAvailable),
                self._connection.transaction(),
            ):
                self._connection.execute(f"SET LOCAL lock_timeout = '{WAIT}'")
                self._connection.execute(shown)
                self._run(
                    "UPDATE {} SET version = %s, digest = %s, side = %s",
                    self._table("index"),
                    values=(live.version, live.digest, live.side),
                )
            if self.live() == live:
                return
        raise IndexFailure("Searches or other readers hold the view: it cannot be switched.")

    def search(self, live: Live, vector: Vector, limit: int) -> Sequence[Hit] | None:
        """Search in one statement, which finds nothing once the view shows another digest."""
        candidates = min(max(self._ef_search, limit), MOST_CANDIDATES)
        with _failures("search the index"):
            if candidates != self._candidates:
                self._one("SELECT set_config('hnsw.ef_search', %s, false)", str(candidates))
                self._candidates = candidates
            found = self._run(
                "SELECT id, texts, 1 - (vector <=> %(query)s) FROM {} WHERE digest = %(digest)s "
                "ORDER BY vector <=> %(query)s LIMIT %(limit)s",
                self._view,
                values={"query": vector, "digest": live.digest, "limit": limit},
            )
        if not found and self.live() != live:
            return None
        return [Hit(id=name, texts=texts, score=score) for name, texts, score in found]

    # The tables.

    def sides(self) -> Mapping[int, str]:
        """Return the versions of the tables that carry this index's mark."""
        with _failures("list the tables"):
            rows = self._connection.execute(
                "SELECT relname, obj_description(oid, 'pg_class') FROM pg_class WHERE "
                "relkind = 'r' AND relnamespace = current_schema()::regnamespace"
            ).fetchall()
        found = {}
        for name, comment in rows:
            side = re.fullmatch(re.escape(self._name) + r"_v(\d+)", name)
            mark = _mark(comment)
            if side and mark.get("index") == self._marked:
                found[int(side[1])] = mark["source"]
        return found

    def create(self, side: int, width: int) -> None:
        """Make a table with this index's mark. Raises IndexFailure if it is somebody else's."""
        if side in self.sides():
            return
        with _failures("make a table"), self._connection.transaction():
            self._run(
                f"CREATE TABLE {{}} (id text PRIMARY KEY, source text NOT NULL, "
                f"texts jsonb NOT NULL, vector vector({int(width)}) NOT NULL)",
                self._side(side),
            )
            self.mark(side, "")

    def mark(self, side: int, source: str) -> None:
        """Keep in the table's comment what it was filled from."""
        mark = json.dumps({"index": self._marked, "source": source})
        with _failures("mark a table"):
            comment = sql.SQL("COMMENT ON TABLE {} IS {}")
            self._connection.execute(comment.format(self._side(side), sql.Literal(mark)))

    def sources(self, side: int) -> Mapping[str, str]:
        """Return the ids of a table, with the digests of their images."""
        with _failures("read a table"):
            return dict(self._run("SELECT id, source FROM {}", self._side(side)))

    def read(self, side: int, after: str, limit: int) -> Sequence[Item]:
        """Return rows by id."""
        with _failures("read a table"):
            rows = self._run(
                "SELECT id, source, texts, vector FROM {} WHERE id > %s ORDER BY id LIMIT %s",
                self._side(side),
                values=(after, limit),
            )
        return [
            Item(id=name, source=source, texts=texts, vector=vector.to_numpy().astype(np.float32))
            for name, source, texts, vector in rows
        ]

    def write(self, side: int, items: Sequence[Item], gone: Collection[str] = ()) -> None:
        """Copy rows in, in one transaction; the primary key keeps each id once."""
        with _failures("write vectors"), self._connection.transaction():
            if replaced := [*gone, *(item.id for item in items)]:
                delete = "DELETE FROM {} WHERE id = ANY(%s)"
                self._run(delete, self._side(side), values=(replaced,))
            copy = sql.SQL("COPY {} (id, source, texts, vector) FROM STDIN WITH (FORMAT BINARY)")
            with self._connection.cursor().copy(copy.format(self._side(side))) as rows:
                rows.set_types(["text", "text", "jsonb", "vector"])
                for item in items:
                    rows.write_row((item.id, item.source, Jsonb(list(item.texts)), item.vector))

    def finish(self, side: int) -> None:
        """Make an HNSW index of cosines, and statistics."""
        with _failures("make the search index"):
            self._run(
                "CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw (vector vector_cosine_ops)",
                self._table(f"v{side}_hnsw"),
                self._side(side),
            )
            self._run("ANALYZE {}", self._side(side))

    def drop(self, side: int) -> None:
        """Drop a table; PostgreSQL refuses while the view shows it."""
        if side in self.sides():
            with _failures("drop a table"):
                self._run("DROP TABLE IF EXISTS {}", self._side(side))

    @property
    def _view(self) -> sql.Identifier:
        return sql.Identifier(self._name)

    def _table(self, what: str) -> sql.Identifier:
        return sql.Identifier(f"{self._name}_{what}")

    def _side(self, side: int) -> sql.Identifier:
        return self._table(f"v{side}")

    def _run(
        self, statement: LiteralString, *names: sql.Identifier, values: Any = None
    ) -> list[tuple[Any, ...]]:
        done = self._connection.execute(sql.SQL(statement).format(*names), values)
        return done.fetchall() if done.description else []

    def _one(self, statement: LiteralString, *values: Any) -> Any:
        row = self._connection.execute(statement, values).fetchone()
        return row and row[0]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _mark(comment: str | None) -> Mapping[str, str]:
    """Return the mark in a table's comment, empty if it is no index's."""
    try:
        found = json.loads(comment or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "source" in found else {}


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Raise IndexFailure in the place of psycopg's errors, whose texts hold no password."""
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise
    except psycopg.Error as error:
        raise IndexFailure(f"PostgreSQL refused to {what}: {str(error).strip()}") from error
