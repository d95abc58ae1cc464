"""Alembic's environment, on the service's connection or, on the command line, on its own."""

from alembic import context
from sqlalchemy import Connection

from core.database.migrate import METADATA, migrating
from core.settings import read_settings


def run(connection: Connection) -> None:
    """Run the requested migrations on a connection from `migrating`."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        transaction_per_migration=True,  # on SQLite one transaction spans all of them
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")

if given is not None:
    run(given)
elif context.is_offline_mode():
    raise SystemExit("Migrations read the database they change: run them without --sql.")
else:
    with migrating(read_settings().database) as connection:
        run(connection)
