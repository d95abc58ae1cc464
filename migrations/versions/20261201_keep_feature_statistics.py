"""Keep the feature statistics of the classes that later updates of a version may replay."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, null in every row that is there: no table is rewritten."""
    op.add_column("versions", sa.Column("feature_statistics", sa.JSON()))


def downgrade() -> None:
    """Drop it; an update of a version then replays none of the classes learned before."""
    op.drop_column("versions", "feature_statistics")
