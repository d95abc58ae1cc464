"""Refusal of databases that another version of Perennial made."""

import re
from pathlib import Path

from sqlalchemy import Connection, create_engine, inspect, make_url, text

from core.database.engine import open_engine, translate_failures
from core.database.tables import metadata
from core.errors import UnsafeConfiguration

MIGRATIONS = Path(__file__).parents[2] / "migrations"
_DECLARED = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)


def newest_revision() -> str:
    """Return the revision of the newest migration, by the dates in their names.

    Only `core.database.migrate` loads Alembic, which would know it too.
    """
    newest = max((MIGRATIONS / "versions").glob("*.py"))
    (found,) = _DECLARED.findall(newest.read_text("utf-8"))
    return str(found)


REVISION = newest_revision()


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
