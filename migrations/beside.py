"""Changes that PostgreSQL makes beside running transactions, and not within one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op


def create_index(
    name: str, table: str, columns: Sequence[str | sa.TextClause], **options: Any
) -> None:
    """Create an index while its table is read and written; one left half made is dropped first."""
    drop_index(name, table)
    with _outside_transactions():
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)


def drop_index(name: str, table: str) -> None:
    """Drop an index while its table is read and written."""
    with _outside_transactions():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _outside_transactions() -> Iterator[None]:
    """It waits for the transactions that are open now, however long, and keeps none waiting."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        try:
            yield
        finally:
            op.execute("RESET lock_timeout")  # to what the connection was opened with
