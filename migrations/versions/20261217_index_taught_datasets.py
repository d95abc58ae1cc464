"""Index the versions by the dataset that they learned from."""

from alembic import op

from migrations.concurrent_indexes import create_index, drop_index

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

NAME, TABLE = "ix_versions_dataset_dataset_version", "versions"
COLUMNS = ["dataset", "dataset_version"]


def upgrade() -> None:
    """Create the index while others write."""
    if op.get_context().dialect.name == "postgresql":
        create_index(NAME, TABLE, COLUMNS)
    else:
        op.create_index(NAME, TABLE, COLUMNS)


def downgrade() -> None:
    """Drop the index."""
    if op.get_context().dialect.name == "postgresql":
        drop_index(NAME, TABLE)
    else:
        op.drop_index(NAME, TABLE)
