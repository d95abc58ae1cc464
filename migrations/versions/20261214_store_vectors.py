"""Add vectors of dataset versions, and reports on old indexes."""

from contextlib import nullcontext

import sqlalchemy as sa
from alembic import op

from migrations.concurrent_indexes import outside_transactions

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

FORGET = (
    "DELETE FROM job_events WHERE job IN "
    "(SELECT id FROM jobs WHERE type IN ('reembed', 'compare_index'))",
    "DELETE FROM jobs WHERE type IN ('reembed', 'compare_index')",
)


def upgrade() -> None:
    """Create the tables empty. No table that is there is touched."""
    op.create_table(
        "vectors",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("dataset", sa.String(), primary_key=True),
        sa.Column("dataset_version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("artifact", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.String(64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_vectors_dataset", "vectors", ["dataset"])
    op.create_table(
        "index_reports",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("baseline", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("report", sa.String(64), nullable=False),
        sa.Column("bridge", sa.String(64), nullable=False),
        sa.Column("sources", sa.JSON(), nullable=False),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop them, with the jobs of their types: the next collection deletes the files.

    PostgreSQL reads through the jobs before the transaction that locks the tables.
    """
    on_postgresql = op.get_context().dialect.name == "postgresql"
    with outside_transactions() if on_postgresql else nullcontext():
        for statement in FORGET:
            op.execute(statement)
    op.drop_table("index_reports")
    op.drop_table("vectors")
