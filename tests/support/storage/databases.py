"""Databases of both kinds, of the tests' own; rows and bytes, to compare with those of others."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, make_url, select, text

from core.artifacts.store import Artifacts
from core.backup.backup import Outcome
from core.backup.dump import LEFT_OUT
from core.database.engine import open_engine
from core.database.migrate import METADATA
from core.database.work import Transactions, Work
from core.settings import Settings
from core.values import Digest
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


def commit_beside(work: Work, act: Callable[..., Any], *given: Any, **named: Any) -> Future[Any]:
    """Begin something else, and commit once it has come to wait for this transaction."""
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(act, *given, **named)
        time.sleep(0.3)
        work.commit()
    return begun


def waiting(transactions: Transactions, *, table: bool = False) -> int:
    """The number of transactions that wait for the lock of a row, or of a table, on PostgreSQL."""
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND (locktype = 'relation') = "
    waits += str(table)
    with transactions(read_only=True) as work:
        return int(work.connection.scalar(text(waits)) or 0)


def rows_of(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows that a back-up has to bring back."""
    engine = open_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: connection.execute(select(table).order_by(*table.primary_key)).mappings()
            for table in METADATA.sorted_tables
            if table.name not in LEFT_OUT
        }
        rows = {name: [dict(row) for row in result] for name, result in found.items()}
    engine.dispose()
    return rows


def bytes_of(artifacts: Artifacts) -> dict[Digest, bytes]:
    return {name: artifacts.get(name) for name in artifacts.digests()}


def file_of(settings: Settings, name: Digest) -> Path:
    return settings.artifacts / name[:2] / name[2:]


def lost_of(outcome: Outcome) -> tuple[set[Digest], set[Digest]]:
    return outcome.artifacts.damaged, outcome.artifacts.missing
