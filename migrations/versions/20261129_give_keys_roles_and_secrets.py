"""Give API keys ids, roles, models, expiry and secrets that can be rotated."""

import hashlib
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
KEYS = sa.table(
    "keys",
    sa.column("digest", sa.String),
    sa.column("name", sa.String),
    sa.column("role", sa.String),
    sa.column("created_at", TIME),
)


def upgrade() -> None:
    """Copy the keys: each stays what it was, an admin's, with its one secret.

    `keys` stays too, for the release before may still run; nothing else reads it any more.
    """
    api_keys = op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("models", sa.JSON(none_as_null=True)),
        sa.Column("prefix", sa.String()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("rotated_at", TIME),
        sa.Column("revoked_at", TIME),
    )
    held = op.create_table(
        "api_key_secrets",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(), sa.ForeignKey("api_keys.id"), nullable=False),
        sa.Column("valid_until", TIME),
    )
    op.create_index("ix_api_key_secrets_key", "api_key_secrets", ["key"])
    keys = list(_named_once())
    op.bulk_insert(
        api_keys,
        [{name: key[name] for name in ("id", "name", "role", "created_at")} for key in keys],
    )
    op.bulk_insert(held, [{"digest": key["digest"], "key": key["id"]} for key in keys])


def downgrade() -> None:
    """Drop them: the keys that were there before are there still, others let nobody in."""
    op.drop_table("api_key_secrets")
    op.drop_table("api_keys")


def _named_once() -> Iterator[dict[str, Any]]:
    """Yield the keys, oldest first, with an id and a name that is not another's."""
    taken: set[str] = set()
    for row in op.get_bind().execute(sa.select(KEYS).order_by(KEYS.c.created_at, KEYS.c.digest)):
        name, number = row.name, 1
        while name in taken:
            number += 1
            name = f"{row.name}-{number}"
        taken.add(name)
        made = int(row.created_at.replace(tzinfo=row.created_at.tzinfo or UTC).timestamp() * 1000)
        rest = hashlib.sha256(f"id of {row.digest}".encode()).hexdigest()[:16]
        yield {**row._mapping, "id": f"key_{made:012x}{rest}", "name": name}
