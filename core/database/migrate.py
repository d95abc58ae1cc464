"""Schema migrations of a database in use. Nothing else ever creates a table."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg import errors as postgres
from sqlalchemy import Connection, Engine, make_url, text

from core.database import tables as access
from core.database.engine import Limits, open_engine
from core.errors import Corrupt, DatabaseUnavailable

MIGRATIONS = Path(__file__).parents[2] / "migrations"

TABLES = (
    access.api_keys,
    access.audit_events,
    access.datasets,
    access.erasures,
    access.jobs,
    access.models,
    access.suites,
    access.counters,
    access.webhooks,
    access.uploads,
    access.exports,
    access.vectors,
    access.trials,
)

METADATA = access.metadata  # complete, since the modules of TABLES are imported

_ADVISORY_LOCK = 0x5065_7265_6E6E_6961

# A migration that waits for a table's lock blocks everyone behind it, so it waits briefly, gives up
# and tries again. LOCK_S is shorter than PostgreSQL's deadlock check (1 s), so that in a deadlock
# the migration gives up, not the other transaction.
LOCK_S = 0.5
TRY_AGAIN_AFTER_S = 1.0
PATIENCE_S = 300.0


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database to a revision. Safe to call from many processes at once.

    Raises DatabaseUnavailable, also when a table stayed locked for minutes; completed migrations
    remain, and the next call continues from there.
    """
    with migrating(url) as connection:
        command.upgrade(migration_config(connection), revision)


def revert(url: str, revision: str) -> None:
    """Downgrade the database to a revision; 'base' leaves only the version table."""
    with migrating(url) as connection:
        command.downgrade(migration_config(connection), revision)


def migration_config(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection from `migrating`."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """Yield a connection that excludes every other migration; commit at the end.

    SQLite: one IMMEDIATE transaction. Foreign keys are off, since rebuilding a table would
    cascade; they are checked before the commit, which raises Corrupt. PostgreSQL: an advisory
    lock, under which each migration runs in its own transaction and holds its locks no longer.
    """
    if make_url(url).get_backend_name() == "sqlite":
        with _opened(url, Limits(statement_s=0)) as engine, engine.begin() as connection:
            yield connection
            broken = connection.execute(text("PRAGMA foreign_key_check")).first()
            if broken is not None:
                raise Corrupt(f"A row of {broken[0]} refers to a row that does not exist.")
        return
    with (
        _opened(url, Limits(lock_s=LOCK_S, statement_s=0, idle_s=0)) as engine,
        engine.connect() as connection,
    ):
        _take_turn(connection)
        yield connection
        connection.commit()


def retry_while_locked(connection: Connection, run: Callable[[], None]) -> None:
    """Run migrations, and again for as long as another transaction holds a lock they need.

    Raises DatabaseUnavailable after PATIENCE_S seconds.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return run()
        except DatabaseUnavailable as error:
            connection.rollback()
            held = isinstance(
                error.__cause__, postgres.LockNotAvailable | postgres.DeadlockDetected
            )
            if not held or time.monotonic() > deadline:
                raise
            time.sleep(TRY_AGAIN_AFTER_S)


@contextmanager
def _opened(url: str, limits: Limits) -> Iterator[Engine]:
    engine = open_engine(url, migrates=True, limits=limits)
    try:
        yield engine
    finally:
        engine.dispose()


def _take_turn(connection: Connection) -> None:
    """Wait for other migrations outside a transaction, since index builds would wait for one."""
    turn = text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")
    while True:
        mine = connection.scalar(turn)
        connection.commit()
        if mine:
            return
        time.sleep(0.2)
