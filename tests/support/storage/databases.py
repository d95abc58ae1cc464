"""Databases of both kinds, of the tests' own."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, make_url, text

from core.database.engine import open_engine
from core.database.work import Transactions
from devtools.servers import run_sql

KINDS = ("sqlite", "postgresql")


class Databases:
    def __init__(self, folder: Path, server: Callable[[], str]) -> None:
        self._folder = folder
        self._server = server  # PostgreSQL's, started when it is needed
        self._numbers = itertools.count(1)

    def fresh(self, kind: str) -> str:
        """Return the URL of a database without tables."""
        name = f"database{next(self._numbers)}"
        if kind == "sqlite":
            return f"sqlite:///{self._folder / name}.db"
        run_sql(self._server(), "postgres", f"CREATE DATABASE {name}")
        return self._server().format(name=name)

    def copy(self, url: str) -> str:
        """Return the URL of a copy of a database that no process has open."""
        name, source = f"database{next(self._numbers)}", make_url(url)
        if source.get_backend_name() == "sqlite":
            target = f"{self._folder / name}.db"
            shutil.copy(str(source.database), target)
            return f"sqlite:///{target}"
        run_sql(self._server(), "postgres", f"CREATE DATABASE {name} TEMPLATE {source.database}")
        return self._server().format(name=name)


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """Yield a connection that commits at the end."""
    engine = open_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def waiting(transactions: Transactions) -> int:
    """The number of transactions that wait for a lock on PostgreSQL."""
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype <> 'relation'"
    with transactions(read_only=True) as work:
        return int(work.connection.scalar(text(waits)) or 0)
