"""The database's clock, which times leases and heartbeats."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Float, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction


class epoch_now(GenericFunction[float]):  # noqa: N801 - named as SQLAlchemy names functions
    """Seconds since 1970 by the database's clock, with a fraction."""

    type = Float(53)
    inherit_cache = True


@compiles(epoch_now, "sqlite")
def _sqlite(_function: epoch_now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(epoch_now, "postgresql")
def _postgresql(_function: epoch_now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def read_clock(connection: Connection) -> datetime:
    """Return the time by the database's clock."""
    return datetime.fromtimestamp(connection.execute(select(epoch_now())).scalar_one(), UTC)
