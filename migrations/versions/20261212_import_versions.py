"""Record where imported versions come from."""

from contextlib import nullcontext

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import outside_transactions

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# Their versions name the jobs of imports, which an earlier release takes for those of roots.
RENAME = """UPDATE jobs SET type = 'import', "order" = '{"base": "bundled"}' """
RENAME += "WHERE type = 'import_version'"


def upgrade() -> None:
    """Add an empty column; the version itself says nothing about its origin before."""
    op.add_column("versions", sa.Column("origin", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    """Drop it: imported versions stay, without what the bundle said of them.

    PostgreSQL reads through the jobs before the transaction that locks the versions.
    """
    on_postgresql = op.get_context().dialect.name == "postgresql"
    with outside_transactions() if on_postgresql else nullcontext():
        op.execute(RENAME)
    op.drop_column("versions", "origin")
