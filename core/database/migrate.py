"""Schema migrations. Nothing else ever creates a table."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, make_url, text

from core.database.engine import Limits, open_engine
from core.database.schema import MIGRATIONS, require_own
from core.database.tables import metadata
from core.errors import Corrupt

METADATA = metadata

_ADVISORY_LOCK = 0x5065_7265_6E6E_6961


def migrate(url: str) -> None:
    """Create the tables of an empty database. Safe to call from many processes at once.

    Raises UnsafeConfiguration if another version made the database, and DatabaseUnavailable.
    """
    require_own(url)
    with migrating(url) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """Yield a connection that excludes every other migration; commit at the end.

    SQLite: one IMMEDIATE transaction. Foreign keys are off, since rebuilding a table would
    cascade; they are checked before the commit, which raises Corrupt. PostgreSQL: an advisory
    lock.
    """
    if make_url(url).get_backend_name() == "sqlite":
        with _opened(url, Limits(statement_s=0)) as engine, engine.begin() as connection:
            yield connection
            broken = connection.execute(text("PRAGMA foreign_key_check")).first()
            if broken is not None:
                raise Corrupt(f"A row of {broken[0]} refers to a row that does not exist.")
        return
    with _opened(url, Limits(statement_s=0, idle_s=0)) as engine, engine.connect() as connection:
        _take_turn(connection)
        yield connection
        connection.commit()


@contextmanager
def _opened(url: str, limits: Limits) -> Iterator[Engine]:
    engine = open_engine(url, migrates=True, limits=limits)
    try:
        yield engine
    finally:
        engine.dispose()


def _take_turn(connection: Connection) -> None:
    """Wait for other migrations, outside a transaction."""
    turn = text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")
    while True:
        mine = connection.scalar(turn)
        connection.commit()
        if mine:
            return
        time.sleep(0.2)
