"""Add webhooks and the outbox of their deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

PENDING = sa.text("status = 'pending'")
CLAIMED = sa.text("lease_until IS NOT NULL")
TABLE = "webhook_deliveries"


def upgrade() -> None:
    """Create the tables empty. No table that is there is touched."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("models", sa.JSON()),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("former_secret", sa.String()),
        sa.Column("former_until", sa.DateTime(timezone=True)),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        TABLE,
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
        ),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column(
            "webhook", sa.String(), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float(53)),
        sa.Column("response_status", sa.Integer()),
        sa.Column("error", sa.JSON()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True)),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("id"),
    )
    _index("ix_webhook_deliveries_due", ["next_attempt_at"], PENDING)
    _index("ix_webhook_deliveries_order", ["webhook", "object", "position"], PENDING)
    _index("ux_webhook_deliveries_claimed", ["webhook"], CLAIMED, unique=True)
    _index("ix_webhook_deliveries_webhook_position", ["webhook", "position"], None)
    _index("ix_webhook_deliveries_created_at", ["created_at"], None)


def downgrade() -> None:
    """Drop them: undelivered events are lost."""
    op.drop_table(TABLE)
    op.drop_table("webhooks")


def _index(
    name: str, columns: list[str], where: sa.TextClause | None, *, unique: bool = False
) -> None:
    op.create_index(name, TABLE, columns, unique=unique, sqlite_where=where, postgresql_where=where)
