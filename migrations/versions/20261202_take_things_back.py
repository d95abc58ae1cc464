"""Mark deleted versions and aliases; describe datasets and count the duplicates sent to them."""

import warnings

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import outside_transactions

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

ADDED = {
    "versions": (sa.Column("deleted_at", sa.DateTime(timezone=True)),),
    "datasets": (
        sa.Column("description", sa.String(), nullable=False, server_default=""),
        sa.Column("metadata", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("duplicates", sa.Integer(), nullable=False, server_default="0"),
    ),
}
# The release before numbers an alias's moves from 1 and knows no deleted ones.
OF_DELETED_ALIASES = (
    """DELETE FROM alias_moves WHERE NOT EXISTS (SELECT 1 FROM aliases
    WHERE aliases.model = alias_moves.model AND aliases.name = alias_moves.alias)""",
    "DELETE FROM alias_moves WHERE to_version IS NULL",
)


def upgrade() -> None:
    """Add the columns. A move to no version is the alias's deletion."""
    for table, columns in ADDED.items():
        for column in columns:
            op.add_column(table, column)
    if _on_postgresql():
        op.alter_column("alias_moves", "to_version", nullable=True)
    else:
        _copy_moves(nullable=True)


def downgrade() -> None:
    """Forget deleted aliases; deleted versions are there again, without their weights.

    On PostgreSQL a validated constraint shows that every move has a target, so that none is read
    under the lock that the column needs.
    """
    if _on_postgresql():
        op.execute("ALTER TABLE alias_moves DROP CONSTRAINT IF EXISTS ck_alias_moves_target")
        check = "ADD CONSTRAINT ck_alias_moves_target CHECK (to_version IS NOT NULL) NOT VALID"
        op.execute(f"ALTER TABLE alias_moves {check}")
        with outside_transactions():
            for delete in OF_DELETED_ALIASES:
                op.execute(delete)
            op.execute("ALTER TABLE alias_moves VALIDATE CONSTRAINT ck_alias_moves_target")
        op.alter_column("alias_moves", "to_version", nullable=False)
        op.execute("ALTER TABLE alias_moves DROP CONSTRAINT ck_alias_moves_target")
    else:
        for delete in OF_DELETED_ALIASES:
            op.execute(delete)
        _copy_moves(nullable=False)
    for table, columns in ADDED.items():
        for column in columns:
            op.drop_column(table, column.name)


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"


def _copy_moves(*, nullable: bool) -> None:
    """Let `alias_moves.to_version` be null or not, for which SQLite copies the table."""
    with warnings.catch_warnings():
        # Of tables that this one refers to; they are not copied.
        warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based")
        with op.batch_alter_table("alias_moves") as table:
            table.alter_column("to_version", existing_type=sa.Integer(), nullable=nullable)
