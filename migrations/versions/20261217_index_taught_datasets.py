"""Index the versions by the dataset that they learned from."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

NAME = "ix_versions_dataset_dataset_version"


def upgrade() -> None:
    """Create the index."""
    op.create_index(NAME, "versions", ["dataset", "dataset_version"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index(NAME, "versions")
