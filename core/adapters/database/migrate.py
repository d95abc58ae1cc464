"""Bring a database to the newest schema. Nothing else ever creates a table."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from core.adapters.database.engine import open_engine
from core.adapters.database.tables import access, datasets, jobs, models, schema, suites, tallies
from core.errors import Corrupt

MIGRATIONS = Path(__file__).parents[3] / "migrations"
TABLES = (
    access.keys,
    datasets.datasets,
    jobs.jobs,
    models.models,
    suites.suites,
    tallies.tallies,
)
METADATA = schema.metadata  # complete, since the modules of TABLES are imported
_ADVISORY_LOCK = 0x5065_7265_6E6E_6961


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database to a revision. Safe to call from many processes at once."""
    with migrating(url) as connection:
        command.upgrade(migration_config(connection), revision)


def revert(url: str, revision: str) -> None:
    """Downgrade the database to a revision; 'base' leaves nothing but the version table."""
    with migrating(url) as connection:
        command.downgrade(migration_config(connection), revision)


def migration_config(connection: Connection) -> Config:
    """Alembic's configuration for a connection that `migrating` gave."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """One transaction that holds off every other migration; committed at the end.

    SQLite: the IMMEDIATE transaction itself. Foreign keys are off, since rebuilding a table
    would cascade, and checked before the commit. PostgreSQL: an advisory lock.
    """
    engine = open_engine(url, foreign_keys=False)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            yield connection
            if engine.dialect.name == "sqlite":
                broken = connection.execute(text("PRAGMA foreign_key_check")).first()
                if broken is not None:
                    raise Corrupt(f"A row of {broken[0]} refers to a row that is not there.")
    finally:
        engine.dispose()
