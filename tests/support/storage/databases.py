"""Databases of both kinds, of the tests' own."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url

from core.database.migrate import migrate
from devtools.servers import run_sql

KINDS = ("sqlite", "postgresql")


class Databases:
    """Makes databases of both kinds."""

    def __init__(self, folder: Path, server: Callable[[], str]) -> None:
        self._folder = folder
        self._server = server  # PostgreSQL's, started when it is needed
        self._numbers = itertools.count(1)
        self._past: dict[str, tuple[str, str]] = {}  # a database, and its schema's revision

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

    def past(self, kind: str, revision: str) -> str:
        """Return the URL of a database without rows that has the schema of a revision.

        It takes one migration if the revision before was asked for last.
        """
        url, reached = self._past.get(kind, ("", ""))
        if not url or reached > revision:
            url = self.fresh(kind)
        migrate(url, revision)
        self._past[kind] = url, revision
        return self.copy(url)
