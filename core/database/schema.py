"""Refusal of databases that another version of Perennial made."""

from pathlib import Path

from sqlalchemy import Connection, create_engine, inspect, make_url, text

from core.database.engine import open_engine, translate_failures
from core.database.tables import metadata
from core.errors import UnsafeConfiguration

REVISION = "5c0e83f2a9d7"  # of the newest migration


def require_own(url: str) -> None:
    """Raise UnsafeConfiguration if another version made the database; change nothing in it.

    A database that is empty, or not there, is accepted. Raises DatabaseUnavailable.
    """
    where = make_url(url)
    if where.get_backend_name() != "sqlite":
        engine = open_engine(url)
    elif Path(where.database or "").exists():
        engine = create_engine(where)  # `open_engine` would set the file's journal mode
        translate_failures(engine)
    else:
        return
    try:
        with engine.connect() as connection:
            # In this order: a migration that commits in between is then seen as a whole.
            tables = metadata.tables.keys() & set(inspect(connection).get_table_names())
            found = revision_of(connection)
    finally:
        engine.dispose()
    if found != REVISION and (found or tables):
        raise UnsafeConfiguration(
            f"This version of Perennial needs a database with schema {REVISION}, but the database "
            f"has schema {found or 'unknown'}: it was made by a development version from before "
            "the first release, or by a newer version. Nothing in it was changed. Export what you "
            "need with the version that made it, and start this one with an empty database."
        )


def revision_of(connection: Connection) -> str | None:
    """Return the revision of a database's schema; None without one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
