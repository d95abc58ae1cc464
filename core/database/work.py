"""One transaction over all tables, and the rows that its users ask it for."""

from collections.abc import Callable
from copy import copy
from typing import Any, Self, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import TimeoutError as PoolExhausted

from core.database.engine import Commits, Limits, begin_reading, open_engine
from core.errors import DatabaseUnavailable
from core.principal import SERVICE, Principal

T = TypeVar("T")

R = TypeVar("R", bound="Rows")


class Rows:
    """The rows of one noun, as one transaction reads and writes them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, work: "Work") -> Self:
        """Return the rows in a transaction."""
        return cls(work.connection)


class Work:
    """One transaction: entering begins it, `commit` ends it, leaving without it rolls back.

    The models and jobs that its principal may not touch are not there.
    """

    def __init__(
        self,
        engine: Engine,
        caches: dict[type[Any], Any],
        *,
        read_only: bool,
        principal: Principal = SERVICE,
    ) -> None:
        self.principal = principal
        self._engine = engine
        self._caches = caches
        self._read_only = read_only
        self._connection: Connection | None = None
        self._opened: dict[type[Rows], Rows] = {}
        self._before_commit: list[Callable[[], None]] = []

    @property
    def connection(self) -> Connection:
        """The connection of the transaction, which has begun."""
        if self._connection is None:
            raise RuntimeError("outside its transaction")
        return self._connection

    def __getitem__(self, kind: type[R]) -> R:
        """Return the rows of a noun, opened at their first use."""
        if kind not in self._opened:
            self._opened[kind] = kind.open(self)
        return cast("R", self._opened[kind])

    def cache(self, kind: type[T]) -> T:
        """Return a cache: the process's in a read-only transaction, one of its own in others."""
        return cast("T", self._caches.setdefault(kind, kind()))

    def before_commit(self, then: Callable[[], None]) -> None:
        """Have something done as the last thing before the commit."""
        self._before_commit.append(then)

    def __enter__(self) -> Self:
        """Begin the transaction. Raises DatabaseUnavailable."""
        try:
            connection = self._engine.connect()
        except PoolExhausted as error:
            raise DatabaseUnavailable from error
        self._connection = connection
        try:
            if self._read_only:
                begin_reading(connection)
            else:
                connection.begin()
        except BaseException:
            connection.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Roll back what was not committed and return the connection to the pool."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._opened.clear()
        self._before_commit.clear()

    def commit(self) -> None:
        """Write its audit events and commit the transaction. Raises DatabaseUnavailable."""
        for then in self._before_commit:
            then()
        self.connection.commit()


class Transactions:
    """Opens transactions on one database: `with transactions() as work: ...; work.commit()`."""

    def __init__(self, url: str, *, limits: Limits | None = None) -> None:
        self._engine = open_engine(url, limits=limits)
        self.commits = Commits(url)
        self._caches: dict[type[Any], Any] = {}
        self._principal = SERVICE

    def __call__(self, *, read_only: bool = False) -> Work:
        """Return a transaction, not yet begun; a `read_only` one never waits for a writer.

        On PostgreSQL, what is read in a `read_only` one is not a snapshot: each statement sees what
        is committed by then, so rows may go between two reads.
        """
        # A writer may read rows of its own that are rolled back, so its reads must not be cached.
        caches = self._caches if read_only else {}
        return Work(self._engine, caches, read_only=read_only, principal=self._principal)

    def on_behalf_of(self, principal: Principal) -> Self:
        """Return what opens this principal's transactions, over the same connections."""
        theirs = copy(self)
        theirs._principal = principal
        return theirs

    def close(self) -> None:
        """Close the pooled connections."""
        self.commits.close()
        self._engine.dispose()
