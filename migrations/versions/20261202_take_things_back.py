"""Mark deleted versions and aliases; describe datasets and count the duplicates sent to them."""

import warnings

import sqlalchemy as sa
from alembic import op

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
OF_DELETED_ALIASES = """DELETE FROM alias_moves WHERE NOT EXISTS (SELECT 1 FROM aliases
    WHERE aliases.model = alias_moves.model AND aliases.name = alias_moves.alias)"""
DELETIONS = "DELETE FROM alias_moves WHERE to_version IS NULL"


def upgrade() -> None:
    """Add the columns. A move to no version is the alias's deletion."""
    for table, columns in ADDED.items():
        for column in columns:
            op.add_column(table, column)
    _require_target(required=False)


def downgrade() -> None:
    """Forget deleted aliases; deleted versions are there again, without their weights."""
    op.execute(OF_DELETED_ALIASES)
    op.execute(DELETIONS)
    _require_target(required=True)
    for table, columns in ADDED.items():
        for column in columns:
            op.drop_column(table, column.name)


def _require_target(*, required: bool) -> None:
    """Let `alias_moves.to_version` be null or not; SQLite copies the table, which is small."""
    with warnings.catch_warnings():
        # Of tables that this one refers to; they are not copied.
        warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based")
        with op.batch_alter_table("alias_moves") as table:
            table.alter_column("to_version", existing_type=sa.Integer(), nullable=not required)
