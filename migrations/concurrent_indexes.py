"""Index changes that PostgreSQL makes concurrently with, and outside of, transactions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op


def create_index(
    name: str, table: str, columns: Sequence[str | sa.TextClause], **options: Any
) -> None:
    """Create an index without blocking its table; an incomplete earlier one is dropped first."""
    drop_index(name, table)
    with outside_transactions():
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)


def drop_index(name: str, table: str) -> None:
    """Drop an index, if it exists, without blocking its table."""
    with outside_transactions():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def outside_transactions() -> Iterator[None]:
    """Run statements outside a transaction and without a lock timeout.

    A concurrent statement waits for all open transactions, however long, and blocks none.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # no timeout
        try:
            yield
        finally:
            op.execute("RESET lock_timeout")  # to the value that the connection was opened with
