"""Add erasures, and mark what learned from erased images."""

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import outside_transactions

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

ADDED = {
    "versions": (sa.Column("erasure", sa.String()), sa.Column("replaces", sa.Integer())),
    "dataset_versions": (sa.Column("replaced_by", sa.Integer()),),
}

FORGET = (
    "DELETE FROM thumbnails WHERE thumbnail = ''",
    "DELETE FROM job_events WHERE job IN (SELECT id FROM jobs WHERE type = 'erase')",
    "DELETE FROM jobs WHERE type = 'erase'",
)
# An update that repeats another one, which the release before would train from a wrong parent.
ON_SQLITE = (
    """UPDATE jobs SET status = 'cancelled', phase = 'cancelled'
    WHERE json_extract("order", '$.replaces') IS NOT NULL
    AND status IN ('queued', 'running', 'cancelling')""",
    """UPDATE jobs SET "order" = json_remove("order", '$.replaces')
    WHERE json_extract("order", '$.replaces') IS NOT NULL""",
)
ON_POSTGRESQL = (
    """UPDATE jobs SET status = 'cancelled', phase = 'cancelled'
    WHERE ("order" ->> 'replaces') IS NOT NULL
    AND status IN ('queued', 'running', 'cancelling')""",
    """UPDATE jobs SET "order" = ("order"::jsonb - 'replaces')::json
    WHERE ("order" ->> 'replaces') IS NOT NULL""",
)


def upgrade() -> None:
    """Create the tables empty and add the columns without values: nothing was erased yet.

    The table of jobs is not referred to: to lock it beside that of versions would be a deadlock
    with whoever writes both.
    """
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("images", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("retraining", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True)),
        sa.Column("findings", sa.JSON()),
    )
    op.create_table(
        "erased_images",
        sa.Column("pixels", sa.String(64), primary_key=True),
        sa.Column("artifact", sa.String(64), primary_key=True),
        sa.Column("erasure", sa.String(), sa.ForeignKey("erasures.id"), nullable=False),
    )
    op.create_index("ix_erased_images_artifact", "erased_images", ["artifact"])
    for table, columns in ADDED.items():
        for column in columns:
            op.add_column(table, column)


def downgrade() -> None:
    """Forget what was erased, and which versions had learned from it; the images stay gone.

    The release before knows neither jobs that erase nor empty thumbnails. Tables are read through
    for them outside the transaction, which locks others.
    """
    if op.get_context().dialect.name == "postgresql":
        with outside_transactions():
            for statement in (*FORGET, *ON_POSTGRESQL):
                op.execute(statement)
    else:
        for statement in (*FORGET, *ON_SQLITE):
            op.execute(statement)
    op.drop_table("erased_images")
    op.drop_table("erasures")
    for table, columns in ADDED.items():
        for column in columns:
            op.drop_column(table, column.name)
