"""Add the last use of each key."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table empty: of no key is a use known."""
    op.create_table(
        "key_uses",
        sa.Column("key", sa.String(), sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("key_uses")
